"""Print a prediction's id and status, as plainly as Typer and requests do it."""

import os

import requests
import typer


def status(id: str) -> None:
    """Look at a prediction once."""
    response = requests.get(
        f"{os.environ['COMETREP_BASE_URL']}/replicate/v1/predictions/{id}",
        headers={"Authorization": f"Bearer {os.environ['COMETAPI_KEY']}"},
        timeout=60,
    )
    response.raise_for_status()
    prediction = response.json()
    typer.echo(f"{prediction['id']}\t{prediction['status']}")


if __name__ == "__main__":
    typer.run(status)
