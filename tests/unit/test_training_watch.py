"""Training says in words when its numbers are finite and yet not sane."""

import pytest
import torch

from rlenhance.agents.base import make_env
from rlenhance.agents.rollout import collect_rollout
from rlenhance.experiments.core.collapse import TrainingWatch, collapse_metrics, collapse_warning
from rlenhance.experiments.core.fit import Budget, fit
from rlenhance.experiments.core.run import Run
from rlenhance.learning.data import Batch
from rlenhance.learning.rewards import Reward, RewardWeights
from tests.support.known_answer import grey_batch, policy
from tests.support.networks import make_policy, stir


def _saturations(network, image):
    env = make_env(network, Reward(RewardWeights()), "cpu")
    rollout = collect_rollout(network, env, Batch(image), network.preferences.encode(None, len(image)), None)
    return {name: value for name, value in collapse_metrics(network, [rollout]).items() if "saturation" in name}


@pytest.mark.parametrize("mean, share", [(0.0, 0.0), (2.9, 0.0), (3.1, 1.0), (-20.0, 1.0)])
def test_saturation_is_the_share_of_agents_beyond_three(mean, share, image):
    """Of each scope: the picture's agent far out does not make the local ones saturated."""
    network = policy()
    with torch.no_grad():
        network.heads["global"][-1].bias.fill_(mean)
    assert _saturations(network, image) == {"saturation/global": share, "saturation/local": 0.0}


def test_one_agent_of_many_is_counted_as_one(image):
    """Agents are counted one by one, and with any of their numbers."""
    network = stir(make_policy({"channels": "chroma"}, horizon=1))
    with torch.no_grad():
        network.heads["local"].weight[1:] *= 300
    with torch.no_grad():
        rollout = collect_rollout(network, make_env(network, Reward(RewardWeights()), "cpu"), Batch(image),
                                  network.preferences.encode(None, len(image)), None)
    expected = (rollout.actions[0]["local"].atanh().abs() > 3).any(dim=1).float().mean()
    found = collapse_metrics(network, [rollout])["saturation/local"]
    assert 0 < found < 1 and found == pytest.approx(expected.item())


def test_categorical_agents_have_nothing_to_squash(image):
    """Their numbers are not saturated, and not logged."""
    assert _saturations(make_policy({"kind": "categorical"}), image) == {}


def test_a_loss_that_jumps_a_hundredfold_is_told_once():
    """With its numbers and a way out; ups and downs of ten times the usual loss are not."""
    watch = TrainingWatch()
    for step in range(60):
        assert watch.after_update({"loss": (0.1, -0.3, 1.5, 0.02)[step % 4]}) == []
    [warning] = watch.after_update({"loss": 442.0})
    assert "442" in warning and "times" in warning and "learning-rate" in warning
    assert watch.after_update({"loss": 3.77e6}) == []


def test_the_first_losses_are_no_measure():
    """Before ten updates nothing is usual."""
    watch = TrainingWatch()
    assert all(watch.after_update({"loss": 10.0**step}) == [] for step in range(9))
    assert TrainingWatch().after_update({"optim/skipped": 1.0}) == []


def test_a_kl_that_stays_large_is_told_for_its_scope():
    """One large update is not an alarm; ten are."""
    watch = TrainingWatch()
    told = [watch.after_update({"policy/approx_kl/local": 0.5, "policy/approx_kl/global": 0.5 if step == 3 else 0.01})
            for step in range(30)]
    assert [bool(lines) for lines in told] == [step == 9 for step in range(30)]
    assert "local" in told[9][0] and "0.5" in told[9][0]


def test_saturated_agents_are_told_for_their_scope():
    """With the share, once."""
    watch = TrainingWatch()
    [warning] = watch.after_validation({"collapse/saturation/local": 0.62, "collapse/saturation/global": 0.1})
    assert "62%" in warning and "local" in warning and "global" not in warning
    assert watch.after_validation({"collapse/saturation/local": 0.9}) == []


def test_a_warning_names_what_caused_it_and_nothing_else():
    """A policy of one level is not said to be reproduced at 0.0 dB."""
    one_level = collapse_warning({"collapse/constant_psnr": 20.0, "collapse/top_choice_share": 0.995})
    assert "99.5%" in one_level and "dB" not in one_level
    assert "dB" not in collapse_warning({"collapse/top_choice_share": 1.0})
    one_curve = collapse_warning({"collapse/constant_psnr": 50.0, "collapse/top_choice_share": 0.5})
    assert "50.0 dB" in one_curve and "level" not in one_curve


class _Exploding:
    """A learner whose loss jumps at update 12, and stays finite."""

    def __init__(self):
        self.network, self.device, self.updates = policy(), torch.device("cpu"), 0

    def step(self, batch, progress):
        self.updates += 1
        return {"loss": 3.77e6 if self.updates >= 12 else 0.1}

    def synchronize(self):
        return {}

    def state_dict(self):
        return {}

    def shutdown(self):
        pass


def test_training_prints_the_warnings(tmp_path, capsys):
    """At the update at which it happens, and once."""
    fit(_Exploding(), grey_batch, lambda network: {"val/return": 0.0, "collapse/saturation/global": 1.0},
        Run.create(tmp_path / "run", {}, {}), Budget(updates=15, eval_interval=5), show=False)
    shown = "".join(capsys.readouterr())
    assert shown.count("warning at update 12: the loss jumped to 3.77e+06") == 1
    assert shown.count("warning at update 5: 100% of the global agents") == 1 and shown.count("warning") == 2
