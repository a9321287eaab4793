"""`siwat mpta …`: what an author of pipelines needs, from the first draft to a proven archive."""

import typer

from siwatsystem.commands import mpta_init, mpta_inspect, mpta_pack, mpta_sign, mpta_test, mpta_validate

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Rich's own markup would take the [/db] of an address for a tag.
    rich_markup_mode="markdown",
    help="Make, check and show archives (.mpta).",
)

# The sub-commands, in the order in which an author comes to need them.
app.command("init")(mpta_init.init)
app.command("validate")(mpta_validate.validate)
app.command("inspect")(mpta_inspect.show)
app.command("pack")(mpta_pack.pack)
app.command("test")(mpta_test.prove)
app.command("keygen")(mpta_sign.keygen)
app.command("sign")(mpta_sign.sign)
app.command("verify")(mpta_sign.verify)
