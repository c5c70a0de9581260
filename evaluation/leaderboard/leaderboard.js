"use strict";

// Sorting: by a click, Enter or Space on a head; each group of rows for itself, rows without a value last.
function value(row, column) {
  const cell = row.cells[column];
  return column === 0 ? cell.textContent.trim() : cell.dataset.value === undefined ? null : Number(cell.dataset.value);
}

function sort(table, column, order) {
  const sign = order === "ascending" ? 1 : -1;
  for (const body of table.querySelectorAll("tbody.ranked")) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
    rows.sort((first, second) => {
      const [one, other] = [value(first, column), value(second, column)];
      if (one === null || other === null) return (one === null) - (other === null);
      return sign * (column === 0 ? one.localeCompare(other) : one - other);
    });
    body.append(...rows);
  }
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const turned = { ascending: "descending", descending: "ascending" };
      const order = turned[head.getAttribute("aria-sort")] ?? head.dataset.first;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      sort(table, column, order);
    });
  });
}

// Notes: what data-tip says, beside what is pointed at or focused.
const tip = document.getElementById("tip");

function show(event) {
  const target = event.target.closest("[data-tip]");
  tip.hidden = !target;
  if (!target) return;
  tip.textContent = target.dataset.tip;
  const box = target.getBoundingClientRect();
  const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const below = box.bottom + 6;
  const fits = below + tip.offsetHeight < window.innerHeight;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${fits ? below : Math.max(8, box.top - tip.offsetHeight - 6)}px`;
}

for (const name of ["pointerover", "focusin"]) document.addEventListener(name, show);
for (const name of ["scroll", "focusout"]) document.addEventListener(name, () => (tip.hidden = true), true);
document.addEventListener("keydown", (event) => event.key === "Escape" && (tip.hidden = true));

// A method's name leads to its details.
function open() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
}

window.addEventListener("hashchange", open);
open();

// The gallery: left and right step through the methods, up and down through the pictures.
const dialog = document.getElementById("enlarged");
let shown = null;

function enlarge(button) {
  const image = button.querySelector("img");
  const strip = button.closest(".strip");
  shown = button;
  dialog.querySelector("img").src = image.src;
  dialog.querySelector("img").alt = image.alt;
  dialog.querySelector("b").textContent = button.dataset.caption;
  dialog.querySelector("small").textContent = strip.dataset.key;
}

function step(across, down) {
  const strips = [...shown.closest(".gallery").querySelectorAll(".strip")];
  const strip = strips.indexOf(shown.closest(".strip"));
  const next = strips[(strip + down + strips.length) % strips.length];
  const buttons = [...next.querySelectorAll("button")];
  const alike = buttons.findIndex((button) => button.dataset.caption === shown.dataset.caption);
  const same = down ? alike : buttons.indexOf(shown);
  if (buttons.length) enlarge(buttons[(Math.max(same, 0) + across + buttons.length) % buttons.length]);
}

for (const button of document.querySelectorAll(".strip button")) {
  button.addEventListener("click", () => {
    enlarge(button);
    dialog.showModal();
  });
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
dialog.addEventListener("keydown", (event) => {
  if (!STEPS[event.key]) return;
  event.preventDefault();
  step(...STEPS[event.key]);
});
for (const button of dialog.querySelectorAll("[data-step]")) {
  button.addEventListener("click", () => step(...STEPS[button.dataset.step]));
}
dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => shown.focus());
