import struct
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from app.config import load_config
from app.data.tasks.events import Events, read_events
from app.data.tasks.images import Images
from app.data.tasks.tonic_events import SHD, TonicEvents
from app.errors import UserError


def dense(dataset):
    """[S, T, ...]."""
    return dataset.__getitems__(range(len(dataset))).events.to_dense().numpy().swapaxes(0, 1)


@pytest.fixture
def images(tmp_path):
    for index in range(20):
        folder = tmp_path / "images" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((3, 4), 10 + index, np.uint8)).save(folder / f"{index:02}.png")
    (tmp_path / "images" / "a" / ".hidden").touch()
    return tmp_path / "images"


def test_images_are_a_task_whose_classes_are_folders(images):
    config = load_config(["task=images", f"data.path={images}"])
    assert (config.time_steps, config.network) == (100, ["12", "fc200", "fc2"])
    task = config.component("task")
    (train, val), test = task.load_train_val(100, 0), task.load_test(100, 0)
    assert (len(train), len(val), len(test), task.input_shape) == (14, 2, 4, (1, 3, 4))
    assert train.arrays.label_S.tolist() == [0] * 10 + [1] * 10
    assert Images(path=str(images), image_size=2, colour=True).load_test(50, 0).shape == (3, 2, 2)


def test_images_that_do_not_belong_are_refused(images):
    def refusal(**settings):
        with pytest.raises(UserError) as caught:
            Images(**settings).load_test(50, 0)
        return str(caught.value)

    assert "add data.path=FOLDER" in refusal()
    assert "is no folder" in refusal(path="/nowhere")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(images / "b" / "z.png")
    assert "z.png has 5x5 pixels, others 3x4: set data.image_size" in refusal(path=str(images))
    (images / "b" / "z.png").write_bytes(b"no image")
    assert "z.png is no image that can be read" in refusal(path=str(images))
    (images / "b" / "z.txt").touch()
    assert "z.txt is no file of .png" in refusal(path=str(images))
    (images / "readme").touch()
    assert "readme is no folder of a class: move it out of data.path" in refusal(path=str(images))


EVENTS = {"t": [1000, 1500, 2000, 3999, 9000], "x": [0, 1, 1, 3, 2], "y": [0, 0, 0, 2, 1], "p": [0, 1, 1, 1, 0]}


def write(path, events=EVENTS):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, **events)
    else:
        rows = zip(*events.values(), strict=True)
        path.write_text("\n".join([",".join(events), *(",".join(map(str, row)) for row in rows)]))


def test_events_are_binned_from_the_first_one(tmp_path):
    for split in ("train", "test"):
        for name in ("a", "b"):
            for index, suffix in enumerate((".npz", ".csv")):
                write(tmp_path / "data" / split / name / f"{index}{suffix}")
    task = Events(path=str(tmp_path / "data"), cache=tmp_path / "cache", window_ms=4, sensor=[2, 3, 4])
    spikes = dense(task.load_test(4, 0))
    assert spikes.shape == (4, 4, 2, 3, 4)
    expected = [(0, 0, 0, 0), (0, 1, 0, 1), (1, 1, 0, 1), (2, 1, 2, 3)]
    for sample in spikes:
        assert list(map(tuple, np.argwhere(sample).tolist())) == expected
    pooled = Events(path=str(tmp_path / "data"), cache=tmp_path / "cache", window_ms=4, sensor=[2, 3, 4], pool=2)
    assert pooled.load_test(4, 0).shape == (2, 2, 2)
    small = Events(path=str(tmp_path / "data"), cache=tmp_path / "cache", window_ms=4, sensor=[2, 2, 2])
    with pytest.raises(UserError, match=r"0\.npz has events at y = 0 to 2, outside the sensor of 2x2x2"):
        small.load_test(4, 0)


def aedat4(events: dict, stream: str = "EVTS") -> bytes:
    """A file of one stream in the format AEDAT 4.0, uncompressed and without an index: flatbuffers, made by hand."""
    kind = f'<attr key="typeIdentifier" type="string">{stream}</attr><attr key="compression" type="string">NONE</attr>'
    size = '<node name="info"><attr key="sizeX" type="int">4</attr><attr key="sizeY" type="int">3</attr></node>'
    text = f'<dv version="2.0"><node name="outInfo"><node name="0">{kind}{size}</node></node></dv>'.encode()
    header = struct.pack("<I4s6x5HiiIqI", 24, b"IOHE", 10, 20, 4, 12, 8, 10, 0, 12, -1, len(text)) + text + b"\0"
    rows = list(zip(*(events[name] for name in "txyp"), strict=True))
    packet = struct.pack("<I4s2x3HiII", 16, stream.encode(), 6, 8, 4, 6, 4, len(rows))
    packet += b"".join(struct.pack("<qhh?3x", *row) for row in rows)
    packet = struct.pack("<iiI", 0, len(packet) + 4, len(packet)) + packet
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(header)) + header + packet


def test_aedat4_is_read_through_tonic(tmp_path):
    pytest.importorskip("aedat", reason="aedat is not installed; see requirements-dev.txt")
    events = {"t": [1000, 1001, 2500], "x": [0, 3, 1], "y": [0, 2, 2], "p": [True, False, True]}
    (tmp_path / "x.aedat4").write_bytes(aedat4(events))
    read = read_events(tmp_path / "x.aedat4")
    assert {name: read[name].tolist() for name in "txyp"} == events
    (tmp_path / "frames.aedat4").write_bytes(aedat4(events, "IMUS"))
    (tmp_path / "cut.aedat4").write_bytes(aedat4(events)[:14] + bytes(40))  # of which the decoder panics
    for name in ("frames", "cut"):
        with pytest.raises(UserError, match=rf"{name}\.aedat4 holds no events t, x, y, p \(.+\): replace it"):
            read_events(tmp_path / f"{name}.aedat4")


def test_without_its_decoder_aedat4_is_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "aedat", None)
    (tmp_path / "x.aedat4").write_bytes(b"")
    with pytest.raises(UserError, match=r"x\.aedat4 needs the package aedat: pip install aedat, or write \.npz"):
        read_events(tmp_path / "x.aedat4")


@pytest.mark.parametrize("name", ["x.npz", "x.csv", "x.aedat4"])
def test_files_without_events_are_refused(tmp_path, name):
    (tmp_path / name).write_text("nothing")
    with pytest.raises(UserError, match=r"holds no events t, x, y, p|needs the package aedat"):
        read_events(tmp_path / name)


def test_the_hdf5_file_of_shd_is_read_through_tonic(tmp_path, monkeypatch):
    folder = tmp_path / "SHD"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"shd_{split}.h5.zip").touch()  # tonic looks for the archive by name once it is unpacked
        with h5py.File(folder / f"shd_{split}.h5", "w") as file:
            times, units = [np.array([0.0, 0.5, 1.9]), np.array([0.1])] * 3, [np.array([0, 699, 5]), np.array([7])] * 3
            for key, values, kind in (("times", times, np.float64), ("units", units, np.int64)):
                column = file.create_dataset(f"spikes/{key}", (6,), h5py.vlen_dtype(kind))
                for index, value in enumerate(values):
                    column[index] = value
            file["labels"] = [0, 19] * 3
            file["extra/keys"], file["extra/speaker"] = [b"zero"] * 20, [0] * 6
    config = load_config(["task=shd", f"data.root={tmp_path}", f"data.cache={tmp_path / 'cache'}"])
    assert (config.network, config.time_steps) == (["700", "fc200", "fc20"], 100)
    task = config.component("task")
    assert isinstance(task, SHD)
    samples = dense(task.load_test(10, 0))
    assert [list(map(tuple, np.argwhere(sample).tolist())) for sample in samples[:2]] == [[(0, 0), (5, 699)], [(0, 7)]]
    assert [len(part) for part in task.load_train_val(10, 0)] == [5, 1]


def test_names_of_tonic_are_checked():
    with pytest.raises(UserError, match=r"add data.name= one of .*DVSGesture.*POKERDVS"):
        load_config(["task=tonic"])
    with pytest.raises(UserError, match=r"data\.name = MVSEC is no such data set"):
        load_config(["task=tonic", "data.name=MVSEC"])
    assert TonicEvents(name="POKERDVS").usual_network == ("2450", "fc200", "fc4")
    assert load_config(["task=dvs_gesture"]).network == ["2048", "fc200", "fc11"]
