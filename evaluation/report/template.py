"""Templates of pages: values are escaped, and one that is missing is an error."""

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def template_of(package: str, name: str) -> Template:
    """The template of this name that lies in a package."""
    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
