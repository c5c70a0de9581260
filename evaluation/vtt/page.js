"use strict";

const { study, kind } = document.body.dataset;
const exposure = Number(document.body.dataset.exposure);
const served = window.server === true || document.querySelector("meta[name=server]") !== null;
const part = (name) => document.getElementById(name);
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const rounded = (number) => Math.round(number * 10) / 10;
const digits = (count) =>
  [...crypto.getRandomValues(new Uint8Array(count / 2))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// What is kept in this browser, for this study and participant.
const search = new URLSearchParams(location.search);
const participant = search.get("PROLIFIC_PID") ?? search.get("workerId") ?? search.get("participant") ?? "";
const storage = (() => {
  try {
    localStorage.setItem("vtt", "");
    return localStorage;
  } catch {
    const kept = new Map(); // where a browser keeps nothing, answers last as long as the page
    return { getItem: (name) => kept.get(name) ?? null, setItem: (name, text) => kept.set(name, text) };
  }
})();
const address = (name) => `vtt:${study}:${participant}:${name}`;
const recall = (name) => JSON.parse(storage.getItem(address(name)));
const keep = (name, value) => storage.setItem(address(name), JSON.stringify(value));

// Screens: one is shown.
function show(name) {
  for (const screen of document.querySelectorAll("main > section")) screen.hidden = screen.id !== name;
  window.scrollTo(0, 0);
}

function notice(text) {
  part("notice").hidden = !text;
  part("notice").textContent = text;
}

function made(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function message(title, paragraphs, ...actions) {
  part("title").textContent = title;
  part("text").replaceChildren(...paragraphs.map((text) => made("p", {}, text)));
  part("actions").replaceChildren(...actions);
  show("message");
  part("message").focus();
}

// Resolves when its button is pressed.
function pressed(title, paragraphs, label) {
  return new Promise((resolve) => {
    message(title, paragraphs, made("button", { type: "button", className: "main", onclick: resolve }, label));
  });
}

function stop(title, paragraphs, ...actions) {
  stopped = true;
  message(title, paragraphs, ...actions);
  return new Promise(() => {}); // never goes on
}

function reloading(label, before = () => {}) {
  const onclick = () => (before(), location.reload());
  return made("button", { type: "button", className: "main", onclick }, label);
}

// One tab at a time: it says every second that it is there.
const CLAIM = "vtt:claim";
const STALE = 5000;
const tab = sessionStorage.getItem(CLAIM) ?? digits(16);
sessionStorage.removeItem(CLAIM);
let holding = false;
let stopped = false;

function hold() {
  const held = recall("tab");
  if (held && held.tab !== tab && Date.now() - held.at < STALE) return false;
  keep("tab", { tab, at: Date.now() });
  return (holding = true);
}

// Stops here; taken back, the other tab does.
function heldElsewhere() {
  holding = false;
  const claim = () => {
    const claimed = digits(16);
    sessionStorage.setItem(CLAIM, claimed);
    keep("tab", { tab: claimed, at: Date.now() });
  };
  return stop(
    "This study is open in another tab",
    ["Go on in that tab. If you go on here instead, that tab stops; what you have answered is kept."],
    reloading("Go on here", claim),
  );
}

function check() {
  if (holding && !hold()) heldElsewhere();
}

setInterval(check, 1000);
addEventListener("storage", (event) => event.key === address("tab") && check());
addEventListener("pagehide", () => holding && keep("tab", null));
addEventListener("pageshow", (event) => event.persisted && location.reload());

// Going back leaves nothing and undoes nothing.
function stay() {
  history.pushState({ study }, "");
  addEventListener("popstate", () => {
    history.pushState({ study }, "");
    notice("Going back does not change an answer. To stop, close this page: what you have answered is kept.");
    setTimeout(notice, 6000, "");
  });
}

// Frames of the screen. What is asked for in one of them is seen by the next.
const frame = () => new Promise(requestAnimationFrame);
let period = 1000 / 60;

async function measurePeriod() {
  const gaps = [];
  for (let last = await frame(); gaps.length < 600 && part("work").hidden; ) {
    const now = await frame();
    gaps.push(now - last);
    last = now;
    if (gaps.length >= 20) period = [...gaps].sort((one, other) => one - other)[gaps.length >> 1];
  }
}

async function blank(milliseconds) {
  const start = await frame();
  for (let now = start; now - start < milliseconds - period / 2; ) now = await frame();
}

// Shows a picture, and returns for how long it really was shown.
async function expose(picture) {
  picture.classList.add("on");
  const start = await frame();
  for (let now = start; now + period - start < exposure - period / 2; ) now = await frame();
  picture.classList.remove("on");
  return (await frame()) - start;
}

// Answers: from a file, and handed out as one at the end,
function script(source) {
  return new Promise((resolve, reject) => {
    document.head.append(made("script", { src: source, onload: resolve, onerror: reject }));
  });
}

function chosen() {
  const name = new URLSearchParams(location.hash.slice(1)).get("block") ?? "";
  return /^[0-9a-f]{32}$/.test(name) ? name : null;
}

const files = {
  async open() {
    const name = chosen();
    await script(`blocks/${name}.js`).catch(() =>
      stop("There is no such block", ["Its file is missing. Ask whoever gave you this study for another link."]),
    );
    keep("rater", recall("rater") ?? digits(16));
    return { block: window.block, answered: progressOf(name).answers.map((answer) => answer.trial) };
  },
  async store(answer, progress) {
    progress.answers.push(answer);
  },
  async close(block) {
    const { answers, refresh_hz } = progressOf(block.block);
    const { width, height } = window.screen;
    const rater = recall("rater");
    const results = { study, block: block.block, rater, agent: navigator.userAgent };
    Object.assign(results, { screen: { width, height, ratio: devicePixelRatio }, refresh_hz, answers });
    const href = URL.createObjectURL(new Blob([JSON.stringify(results, null, 1)], { type: "application/json" }));
    const download = `${block.block.slice(0, 8)}-${rater}.json`;
    keep("done", [...new Set([...(recall("done") ?? []), block.block])]);
    const actions = [made("a", { className: "button main", href, download, id: "save" }, "Save my answers")];
    await script("blocks/index.js");
    if (window.blocks.flat().length > 1) actions.push(made("a", { className: "button", href: "#" }, "Other blocks"));
    message(
      "Thank you: that was all",
      ["Save your answers, and send the file to whoever gave you this study."],
      ...actions,
    );
  },
};

async function list() {
  await script("blocks/index.js");
  const all = window.blocks.flat();
  if (all.length === 1) return location.replace(`#block=${all[0]}`);
  const done = new Set(recall("done") ?? []);
  part("blocks").replaceChildren(
    ...window.blocks.flatMap((group, number) => {
      const over = group.some((name) => done.has(name));
      const links = group.map((name, at) => {
        const label = done.has(name) ? "done" : `${at + 1}`;
        return made("li", {}, over ? made("span", {}, label) : made("a", { href: `#block=${name}` }, label));
      });
      return [made("h3", {}, `Part ${number + 1}`), made("ol", {}, ...links)];
    }),
  );
  show("list");
}

addEventListener("hashchange", () => location.reload());

// or from a server, which has an answer before the next trial comes.
async function call(path, content) {
  for (let wait = 1000; ; wait = Math.min(2 * wait, 30000)) {
    try {
      const headers = { Authorization: `Bearer ${recall("token") ?? ""}` };
      const request = { headers, cache: "no-store", signal: AbortSignal.timeout(20000) };
      if (content) {
        Object.assign(request, { method: "POST", body: JSON.stringify(content) });
        headers["Content-Type"] = "application/json";
      }
      const response = await fetch(path, request);
      if (response.status < 500 && response.status !== 429) {
        notice("");
        return response;
      }
      wait = Math.max(wait, 1000 * Number(response.headers.get("Retry-After") ?? 0));
    } catch {
      // no network, or too slow a one
    }
    notice(`The server cannot be reached. What you have answered is kept; trying again in ${Math.round(wait / 1000)} s.`);
    await sleep(wait);
  }
}

async function refused(response) {
  const sentence = await response.json().then((found) => found.error ?? found.detail, () => "");
  return stop("The study cannot go on", [sentence || `The server answers ${response.status}.`], reloading("Try again"));
}

const server = {
  async open() {
    let response = recall("token") ? await call("api/block") : null;
    if (!response || response.status === 401) {
      const registered = await call("api/raters", { participant });
      if (!registered.ok) return refused(registered);
      keep("token", (await registered.json()).rater);
      response = await call("api/block");
    }
    if (response.status === 204) return stop("Thank you: there is nothing left to do", completion());
    if (!response.ok) return refused(response);
    return response.json();
  },
  async store(answer, progress, block) {
    const response = await call("api/answers", { block, ...answer });
    if (response.status === 404 || response.status === 401) location.reload();
    if (!response.ok && response.status !== 409) await refused(response);
  },
  async close({ block }) {
    const response = await call("api/block/end", { block });
    if (!response.ok) return refused(response);
    const { left } = await response.json();
    if (!left) return stop("Thank you: that was all", ["All your answers are stored. You can close this page.", ...completion()]);
    const paragraphs = ["All your answers are stored. You can stop here, or rest and go on with other pictures.", ...completion()];
    await pressed("Thank you: this part is done", paragraphs, "Go on with another part");
    location.reload();
  },
};

function completion() {
  return participant ? [`Your completion code: ${study.slice(0, 8).toUpperCase()}`] : [];
}

const source = served ? server : files;
const progressOf = (block) => recall(`block:${block}`) ?? { answers: [], attempts: {}, pending: null };

// The pictures of a block.
const loaded = new Map();

async function load(names) {
  const bar = part("load");
  bar.max = names.length;
  part("loading").hidden = false;
  await Promise.all(
    names.map(async (name) => {
      for (let tries = 4; ; tries -= 1) {
        const picture = made("img", { decoding: "sync", draggable: false, src: `pictures/${name}.png` });
        try {
          await picture.decode();
          loaded.set(name, picture);
          break;
        } catch (error) {
          if (tries === 1) throw error;
          await sleep(served ? 2000 : 100);
        }
      }
      bar.value = loaded.size;
      part("loaded").textContent = `Loading the pictures: ${loaded.size} of ${names.length}`;
    }),
  ).catch(() => stop("A picture cannot be loaded", ["What you have answered is kept."], reloading("Try again")));
  for (const [side, name] of [["naturalWidth", "--width"], ["naturalHeight", "--height"]]) {
    part("stage").style.setProperty(name, `${Math.max(...[...loaded.values()].map((picture) => picture[side]))}px`);
  }
}

// A trial, shown and asked about.
let away = false;

document.addEventListener("visibilitychange", () => {
  away ||= document.hidden;
  if (document.hidden) for (const picture of part("stage").children) picture.classList.remove("on");
});

async function present(trial) {
  const pictures = trial.shown.map((name) => loaded.get(name));
  pictures.forEach((picture) => (picture.alt = ""));
  part("stage").replaceChildren(...pictures);
  await Promise.all(pictures.map((picture) => picture.decode()));
  const shown = [];
  for (const picture of pictures) {
    await blank(300);
    shown.push(rounded(await expose(picture)));
  }
  await blank(300);
  return shown;
}

function layOut(trial) {
  const captions = ["To be coloured", "Reference"];
  const figures = trial.context.map((name, number) =>
    made("figure", {}, made("figcaption", {}, captions[number]), Object.assign(loaded.get(name), { alt: captions[number] })),
  );
  part("stage").replaceChildren(...figures);
}

function buttons(trial) {
  return trial.shown.map((name, number) => {
    const key = made("kbd", { ariaHidden: "true" }, `${number + 1}`);
    if (kind === "turing") return made("button", { type: "button" }, ["The first", "The second"][number], key);
    return made("button", { type: "button" }, Object.assign(loaded.get(name), { alt: `Picture ${number + 1}` }), key);
  });
}

// Resolves with what is chosen, and after how long.
function asked(trial) {
  const choices = buttons(trial);
  part("choices").replaceChildren(...choices);
  part("question").classList.add("on");
  part("question").focus({ preventScroll: true });
  return new Promise((resolve) => {
    const start = performance.now();
    const choose = (choice) => {
      document.removeEventListener("keydown", type);
      for (const button of choices) button.disabled = true;
      part("question").classList.remove("on");
      resolve({ choice, response_ms: rounded(performance.now() - start) });
    };
    const keys = choices.map((_, number) => `${number + 1}`);
    const arrows = kind === "turing" ? ["ArrowLeft", "ArrowRight"] : [];
    const type = (event) => {
      const choice = Math.max(keys.indexOf(event.key), arrows.indexOf(event.key));
      if (choice < 0 || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      choose(choice);
    };
    document.addEventListener("keydown", type);
    choices.forEach((button, number) => button.addEventListener("click", () => choose(number)));
  });
}

function told(trial, choice) {
  if (trial.practice === null) return null;
  const names = kind === "turing" ? ["first", "second"] : trial.shown.map((_, number) => `${number + 1}.`);
  const right = choice === trial.practice;
  return new Promise((resolve) => {
    const go = made("button", { type: "button", className: "main", onclick: resolve }, "Next");
    part("feedback").replaceChildren(
      made("span", { className: right ? "right" : "wrong" }, right ? "Right: " : "No: "),
      `the ${names[trial.practice]} picture has its true colours.`,
      made("p", { className: "bar" }, go),
    );
    go.focus();
  }).then(() => part("feedback").replaceChildren());
}

// One attempt at a trial; what went wrong at the first is shown once more, at the end. Whether an answer was stored.
async function attempt(trial, progress, block) {
  const isPractice = "practice" in trial;
  const attempts = (progress.attempts[trial.trial] = (progress.attempts[trial.trial] ?? 0) + 1);
  keep(`block:${block}`, progress);
  const last = isPractice || attempts > 1;
  let answer = { choice: null, response_ms: 0, shown_ms: [], dropped: "hidden" }; // seen, then left by a reload
  if (!exposure || attempts <= (isPractice ? 1 : 2)) {
    while (document.hidden) await sleep(100);
    away = false;
    const shown_ms = exposure ? await present(trial) : (layOut(trial), []);
    const { choice, response_ms } = await asked(trial);
    const off = shown_ms.some((shown) => Math.abs(shown - exposure) > 1.5 * period);
    const dropped = exposure && away ? "hidden" : off ? "timing" : null;
    if (stopped) return false;
    if (isPractice) await told(trial, choice);
    if (dropped && !last) return false;
    answer = { choice: dropped ? null : choice, response_ms, shown_ms, dropped };
  }
  await store({ trial: trial.trial, ...answer, at: new Date().toISOString() }, progress, block);
  return true;
}

// An answer is kept here before it is sent: a reload sends it again.
async function store(answer, progress, block) {
  check();
  if (stopped) return;
  progress.pending = answer;
  keep(`block:${block}`, progress);
  await source.store(answer, progress, block);
  progress.pending = null;
  keep(`block:${block}`, progress);
}

function next(left, progress) {
  return left.find((trial) => "practice" in trial || !progress.attempts[trial.trial]) ?? left[0];
}

async function run({ block, answered: before }) {
  const answered = new Set(before);
  const progress = progressOf(block.block);
  const { pending } = progress;
  if (pending && !answered.has(pending.trial)) {
    await store(pending, progress, block.block);
    answered.add(pending.trial);
  }
  const left = () => block.trials.filter((trial) => !answered.has(trial.trial));
  if (left().length) {
    await load(left().flatMap((trial) => [...trial.shown, ...trial.context]));
    await ready(answered.size);
  }
  progress.refresh_hz = rounded(1000 / period);
  part("progress").max = block.trials.length;
  const practice = block.trials.filter((trial) => "practice" in trial).length;
  let practised = false;
  for (let trial; (trial = next(left(), progress)) && !stopped; ) {
    const isPractice = "practice" in trial;
    if (practised && !isPractice) {
      await pressed("Practice is over", ["From now on you are not told whether you were right."], "Start");
    }
    practised = isPractice;
    const number = answered.size + 1 - (isPractice ? 0 : practice);
    const many = isPractice ? practice : block.trials.length - practice;
    part("where").textContent = `${isPractice ? "Practice: " : ""}${number} of ${many}`;
    part("progress").value = answered.size;
    show("work");
    if (await attempt(trial, progress, block.block)) answered.add(trial.trial);
  }
  if (!stopped) await source.close(block);
}

function ready(answered) {
  part("loaded").textContent = answered ? "Ready to go on where you were." : "All is ready.";
  part("begin").textContent = answered ? "Go on" : "Start";
  part("begin").disabled = false;
  part("begin").focus();
  return new Promise((resolve) => {
    part("begin").onclick = resolve;
  }).then(stay);
}

async function begin() {
  part("begin").disabled = true;
  part("load").removeAttribute("value");
  part("loading").hidden = false;
  run(await source.open());
}

if (!served && !chosen()) {
  list();
} else if (!hold()) {
  heldElsewhere();
} else {
  show("intro");
  part("begin").onclick = begin;
  measurePeriod();
}
