"""How the shipped networks were trained: each is listed, with commands that there are."""

from importlib.util import find_spec

from research.networks import main, trainings
from rlenhance.hub.shipped import list_models


def test_each_shipped_network_has_its_commands(capsys):
    """Name, seed and at least one command; each command names a module of the project."""
    found = list(trainings())
    assert {training.name for training in found} == {model.name for model in list_models()}
    for training in found:
        assert training.commands and training.seed
        for command in training.commands:
            assert find_spec(f"rlenhance.{command.split()[2]}"), command
    assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if line and line[0] != " "] == [training.name for training in found]
