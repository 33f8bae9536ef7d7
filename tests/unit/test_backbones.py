"""What every registered backbone must do."""

import pytest
import torch

from rlenhance.nn.backbones import BACKBONES, FiLM

CONTEXT = 5
every = pytest.mark.parametrize("name", list(BACKBONES))


def make_backbone(name, channels=3, context=CONTEXT):
    """A backbone with weights that are all at work: FiLM begins as the identity, which hides its parts."""
    torch.manual_seed(0)
    backbone = BACKBONES.create(name, channels=channels, context=context)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return backbone


@every
@pytest.mark.parametrize("size", [(8, 8), (9, 13), (16, 16), (31, 8), (33, 47)])
def test_features_of_any_size(name, size, generator):
    """Any picture from 8 pixels on has ceil(side / stride) features along each side, of the stated width."""
    backbone = make_backbone(name)
    features, _ = backbone(torch.rand(2, 3, *size, generator=generator), torch.rand(2, CONTEXT, generator=generator))
    assert features.shape == (2, backbone.width, *(-(-side // backbone.stride) for side in size))
    assert torch.isfinite(features).all()


@every
@pytest.mark.parametrize("context", [0, CONTEXT])
def test_gradient_reaches_every_parameter(name, context, generator):
    """No weight is idle."""
    backbone = make_backbone(name, context=context)
    known = torch.rand(2, context, generator=generator) if context else None
    features, state = backbone(torch.rand(2, 3, 24, 24, generator=generator), known)
    if backbone.recurrent:  # what reads the memory has nothing to read at the first step
        features, state = backbone(torch.rand(2, 3, 24, 24, generator=generator), known, state)
    (features * torch.randn(features.shape, generator=generator)).sum().backward()
    for parameter, value in backbone.named_parameters():
        assert value.grad is not None and value.grad.abs().max() > 0, parameter


@pytest.mark.parametrize("name", [name for name in BACKBONES if not BACKBONES[name].zero_padded])
@pytest.mark.parametrize("size", [(32, 40), (17, 23)])
def test_constant_picture_has_constant_features(name, size):
    """Borders are not seen: an even picture has even features up to its edge, but for the backbone's own period."""
    backbone = make_backbone(name)
    features, _ = backbone(torch.full((1, 3, *size), 0.3), torch.full((1, CONTEXT), 0.2))
    for top in range(backbone.feature_period):
        for left in range(backbone.feature_period):
            phase = features[..., top :: backbone.feature_period, left :: backbone.feature_period]
            assert torch.allclose(phase, phase[..., :1, :1].expand_as(phase), atol=1e-5)
    assert features.abs().max() > 0


@every
def test_pictures_of_a_batch_do_not_mix(name, generator):
    """A picture has the same features alone and in company."""
    backbone = make_backbone(name)
    pictures, context = torch.rand(3, 3, 16, 24, generator=generator), torch.rand(3, CONTEXT, generator=generator)
    together, _ = backbone(pictures, context)
    for index in range(3):
        alone, _ = backbone(pictures[index : index + 1], context[index : index + 1])
        assert torch.allclose(alone, together[index : index + 1], atol=1e-5)


@every
def test_context_matters(name, generator):
    """What is known of the whole picture changes its features."""
    backbone = make_backbone(name)
    picture = torch.rand(1, 3, 16, 16, generator=generator)
    one, other = (backbone(picture, torch.full((1, CONTEXT), value))[0] for value in (0.0, 1.0))
    assert not torch.allclose(one, other)


@every
@pytest.mark.parametrize("channels", [3, 4])
def test_spec_rebuilds_the_same_shape(name, channels):
    """A backbone made again from its recipe takes the same weights."""
    backbone = make_backbone(name, channels)
    again = BACKBONES.rebuild(backbone.spec)
    again.load_state_dict(backbone.state_dict())
    assert again.spec == backbone.spec
    picture = torch.rand(1, channels, 16, 16)
    assert torch.equal(again(picture, torch.zeros(1, CONTEXT))[0], backbone(picture, torch.zeros(1, CONTEXT))[0])


@every
def test_state_goes_on(name, generator):
    """What a step leaves is taken by the next, also where there is nothing to leave."""
    backbone = make_backbone(name)
    picture, context = torch.rand(1, 3, 16, 16, generator=generator), torch.rand(1, CONTEXT, generator=generator)
    _, state = backbone(picture, context)
    features, _ = backbone(picture, context, state)
    assert torch.isfinite(features).all()


def test_film_begins_as_the_identity(generator):
    """Before it has learned anything, the context changes nothing."""
    features = torch.randn(2, 4, 3, 3, generator=generator)
    assert torch.equal(FiLM(CONTEXT, 4)(features, torch.randn(2, CONTEXT, generator=generator)), features)
    assert FiLM(0, 4)(features, None) is features


@every
def test_state_is_carried_exactly_where_it_is_promised(name, generator):
    """A recurrent backbone sees the step before; any other gives the same features whatever state it is handed."""
    backbone = make_backbone(name)
    picture, context = torch.rand(1, 3, 16, 16, generator=generator), torch.rand(1, CONTEXT, generator=generator)
    first, state = backbone(picture, context)
    second, _ = backbone(picture, context, state)
    assert (state is not None) == backbone.recurrent
    assert torch.allclose(first, second) != backbone.recurrent
