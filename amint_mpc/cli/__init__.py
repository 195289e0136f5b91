import click


@click.group()
def main() -> None:
    """Train with an auditor."""
