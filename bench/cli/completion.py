"""`bench completion`: completion of verbs, options and files in a shell."""

import click
from click.shell_completion import get_completion_class

from bench.cli.verbs import COMPLETE


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script by which SHELL completes `bench`.

    \b
    bench completion bash > ~/.local/share/bash-completion/completions/bench
    bench completion zsh > "${fpath[1]}/_bench"
    bench completion fish > ~/.config/fish/completions/bench.fish
    """
    root = click.get_current_context().find_root()
    script = get_completion_class(shell)
    if script is None:
        raise TypeError(f"click completes no {shell}")
    click.echo(script(root.command, {}, "bench", COMPLETE).source())
