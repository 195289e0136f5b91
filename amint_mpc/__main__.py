"""`python -m amint_mpc` is the command `amint-mpc`."""

from amint_mpc.cli import main

if __name__ == "__main__":
    main(prog_name="amint-mpc")
