"""CelebA and CelebA-HQ: photographs with their list, and pictures out of TFRecord files, checked."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlenhance.core.errors import UsageError
from rlenhance.io import write
from rlenhance.learning.data import (
    ImageCache,
    Sampler,
    check_disjoint,
    load_split,
    open_celeba,
    open_clean,
    open_noisy,
    parse_noise,
    records,
    validate_splits,
)
from rlenhance.learning.data.tfrecords import crc32c, masked_crc
from tests.support.data import example, faces, framed, make_records, message


def _crc_by_bits(data):
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def test_the_checksum_is_the_published_one():
    """RFC 3720, B.4: its examples; the mask as TensorFlow's files have it (an empty record's length)."""
    assert crc32c(bytes(32)) == 0x8A9136AA and crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E and crc32c(b"") == 0
    assert masked_crc(bytes(8)) == ((crc32c(bytes(8)) >> 15 | crc32c(bytes(8)) << 17) + 0xA282EAD8) % 2**32


@given(st.integers(0, 5000), st.integers(0, 2**32 - 1))
def test_blocks_equal_bits(length, seed):
    """Block by block or bit by bit, the checksum is the same."""
    data = np.random.default_rng(seed).bytes(length)
    assert crc32c(data) == _crc_by_bits(data)


def test_a_face_is_checked_quickly():
    """The checksum of 256x256 pixels runs few lines of Python, not some for each byte."""
    data, lines = np.random.default_rng(0).bytes(3 << 16), 0

    def count(*_):
        nonlocal lines
        lines += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        crc32c(data)
    finally:
        sys.settrace(before)
    assert 0 < lines < len(data) / 20


@pytest.mark.parametrize("options", [{}, {"packed": False}, {"label": 1}, {"label": 300}])
def test_records_give_back_what_was_stored(tmp_path, options):
    """Every picture, in any order, bit for bit, channels last."""
    pictures = faces(5)
    found = records(make_records(tmp_path / "faces-r04.tfrecords", pictures, **options))
    assert len(found) == 5
    for number in (3, 0, 4, 1, 2):
        assert np.array_equal(found[number].read(), pictures[number])
    assert str(found[3]) == f"{tmp_path / 'faces-r04.tfrecords'}, record 3"


def test_damage_is_told(tmp_path):
    """A flipped bit, a cut, a file of another kind: the message names the file and the record."""
    path = make_records(tmp_path / "a-r04.tfrecords", faces(3))
    good = path.read_bytes()
    size = len(good) // 3
    damaged = bytearray(good)
    damaged[size + 400] ^= 4
    path.write_bytes(damaged)
    found = records(path)
    found[0].read(), found[2].read()
    with pytest.raises(UsageError, match="record 1: its checksum"):
        found[1].read()
    damaged = bytearray(good)
    damaged[size] ^= 1
    for content, words in ((damaged, "record 1: the checksum of its length"), (good[:-3], "record 2: .*cut off"),
                           (good[: size + 5], "record 1: .*cut off"), (b"\x89PNG" * 20, "no TFRecord"), (b"", "empty"),
                           (b"abc", "cut off")):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=words) as told:
            records(path)
        assert str(path) in str(told.value)
    with pytest.raises(UsageError, match="cannot be read"):
        records(tmp_path / "nowhere.tfrecords")
    path.write_bytes(good)
    kept = records(path)
    path.write_bytes(good[:-3])  # after it was opened
    with pytest.raises(UsageError, match="cut off"):
        kept[2].read()


def test_other_contents_are_told(tmp_path):
    """Whole records that hold no picture of the layout."""
    face = faces(1)[0]
    for content, words in ((framed(example(face, shape=(16, 3, 16))), r"\(3, height, width\)"),
                           (framed(example(face, data=b"1234")), "4 bytes"),
                           (framed(message(1, message(1, message(1, b"image/encoded")
                                                       + message(2, message(1, message(1, b"x")))))), "image/encoded"),
                           (framed(b"no protocol buffer"), "no tf.train.Example"), (framed(b""), "none"),
                           (framed(b"\xff" * 20), "no tf.train.Example")):
        path = tmp_path / "odd.tfrecords"
        path.write_bytes(content)
        with pytest.raises(UsageError, match=words):
            records(path)[0].read()


def test_records_are_examples_like_others(tmp_path):
    """A file of records is a folder of good pictures: dealt out, scanned, cropped, spoiled."""
    path = make_records(tmp_path / "celebahq-r04.tfrecords", faces(24))
    splits = open_clean(path, parse_noise("25"))
    assert [len(part) for part in splits.parts.values()] == [16, 4, 4]
    assert splits == open_clean(path, parse_noise("25")) == open_noisy(path, "25")
    assert [e.name for part in open_clean(tmp_path).parts.values() for e in part] == \
        [e.name for part in splits.parts.values() for e in part]
    cache = ImageCache()
    validate_splits(splits, cache)
    check_disjoint(splits, cache)
    assert len(Sampler(splits.train, cache, 8, crop="native").batch(0, 4)) == 4
    assert load_split(splits.test, cache)[0].target.shape == (1, 3, 16, 16)
    tight = ImageCache(budget=1000)  # one picture of 768 bytes: what is in memory stays within it
    for batch in load_split(splits.train, tight):
        assert batch.image.shape == (1, 3, 16, 16) and tight.used <= 1000


def test_the_same_picture_in_two_splits_is_refused(tmp_path):
    """By the hash of its pixels, as for files."""
    twin = faces(1)[0]
    make_records(tmp_path / "train" / "train-r04-s-0000-of-0001.tfrecords", [*faces(5, 1), twin])
    make_records(tmp_path / "validation" / "validation-r04-s-0000-of-0001.tfrecords", [twin])
    with pytest.raises(UsageError, match="same picture"):
        check_disjoint(open_clean(tmp_path), ImageCache())


@pytest.mark.parametrize("apart", [True, False])
def test_shards_say_what_is_held_out(tmp_path, apart):
    """Files called validation are the test split, whichever folder they are in; validation comes out of training."""
    for part, count, seed in (("train", 4, 1), ("validation", 3, 2)):
        for shard in range(2):
            home = tmp_path / part if apart else tmp_path
            make_records(home / f"{part}-r08-s-{shard:04d}-of-0002.tfrecords", faces(count, 10 * seed + shard))
    splits = open_clean(tmp_path)
    assert [len(part) for part in splits.parts.values()] == [7, 1, 6]
    assert all("validation" in str(example.target) for example in splits.test)


def test_of_several_sizes_the_published_one_is_taken(tmp_path):
    """256x256, whose files are called -r08; without them the user has to choose."""
    for level in (7, 8, 9):
        make_records(tmp_path / f"celebahq-r{level:02d}.tfrecords", faces(6, level, 2**(level - 4)))
    splits = open_clean(tmp_path)
    assert {str(e.target.file.name) for part in splits.parts.values() for e in part} == {"celebahq-r08.tfrecords"}
    (tmp_path / "celebahq-r08.tfrecords").unlink()
    with pytest.raises(UsageError, match=r"celebahq-r07.*name one file"):
        open_clean(tmp_path)


def _photographs(folder, count):
    for number, picture in enumerate(faces(count)):
        write(picture, folder / f"{number + 1:06d}.png")


@pytest.mark.parametrize("place", ["list_eval_partition.txt", "Eval/list_eval_partition.txt",
                                   "list_eval_partition.csv"])
@pytest.mark.parametrize("inside", ["img_align_celeba", "Img/img_align_celeba", "img_align_celeba/img_align_celeba"])
def test_the_list_deals_celeba_out(tmp_path, place, inside):
    """0, 1, 2 are training, validation, test; pictures that it does not name are told; absent ones do not matter."""
    _photographs(tmp_path / inside, 9)
    rows = [(f"{n:06d}.png", 0 if n < 5 else 1 if n < 7 else 2) for n in range(1, 9)] + [("000100.png", 0)]
    (tmp_path / place).parent.mkdir(exist_ok=True)
    text = "image_id,partition\n" + "".join(f"{name},{part}\n" for name, part in rows) if place.endswith("csv") else \
        "".join(f"{name} {part}\n" for name, part in rows)
    (tmp_path / place).write_text(text)
    splits = open_clean(tmp_path, parse_noise("36"))
    assert [len(part) for part in splits.parts.values()] == [4, 2, 2]
    assert [e.name for e in splits.test] == ["000007.png", "000008.png"]
    assert all(e.image is None and e.degradation is not None for e in splits.train)
    assert len(splits.unmatched) == 1 and "000009" in splits.unmatched[0]
    assert [e.name for e in open_clean(tmp_path / inside).test] == ["000007.png", "000008.png"]


def test_without_the_list_names_decide(tmp_path):
    """As in any folder of good pictures, whether the folder or what is around it is named."""
    _photographs(tmp_path / "img_align_celeba", 24)
    splits = open_clean(tmp_path)
    assert [len(part) for part in splits.parts.values()] == [16, 4, 4]
    assert splits.test == open_clean(tmp_path / "img_align_celeba").test
    (tmp_path / "list_eval_partition.txt").write_text("000900.jpg 0\n")
    with pytest.raises(UsageError, match="names none as training"):
        open_clean(tmp_path)
    assert open_celeba(tmp_path / "nowhere") is None
