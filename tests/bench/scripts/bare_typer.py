"""A bare Typer app of two commands."""

import typer

app = typer.Typer()


@app.command()
def hello(name: str = "world") -> None:
    """Greet somebody."""
    typer.echo(f"hello {name}")


@app.command()
def goodbye(name: str = "world") -> None:
    """Take leave of somebody."""
    typer.echo(f"goodbye {name}")


if __name__ == "__main__":
    app()
