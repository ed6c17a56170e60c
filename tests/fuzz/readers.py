"""The readers of files from strangers, each with good files to start from and mutations that know the format.

To cover a new reader, write a function that makes its good files and a function that reads one, and list them in
`READERS`.
"""

import functools
import io
import json
import logging
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import av
import numpy as np
import torch
from PIL import Image

import ram_avatar.avatar
from fuzz import mutations as m
from ram_avatar.body import BodyTemplate, load_template
from ram_avatar.core.progress import SILENT

Read = Callable[[Path], object]


@dataclass(frozen=True)
class Reader:
    """One kind of file.

    Args:
        file: the name under which `read` finds a mutated file, in a folder of its own.
        prepare: makes the good files, as bytes; may add other files to the folder.
        read: reads the file as users do; may raise UserErrors only.
        mutations: one is drawn for each input.
        confined: whether it starts a process for each file.
        share: for a slow reader, by what to divide the number of inputs.
    """

    file: str
    prepare: Callable[[Path], Sequence[bytes]]
    read: Read
    mutations: tuple[m.Mutate, ...]
    confined: bool = False
    share: int = 1

    def mutated(self, good: Sequence[bytes], seed: str) -> bytes:
        """Return the input of a seed."""
        random = Random(seed)
        data = random.choice(good)
        for _ in range(random.choice((1, 1, 1, 2))):
            try:
                data = random.choice(self.mutations)(random, data)
            except (ValueError, KeyError, IndexError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
                data = m.bytes_at_random(random, data)  # the first mutation left no such file
        return data


@functools.cache
def template(name: str = "anny", **_: object) -> BodyTemplate:
    """Load a template once."""
    return load_template()


def _bytes_of(write: Callable[[Path], object], path: Path) -> bytes:
    write(path)
    content = path.read_bytes()
    path.unlink()
    return content


# Motions --------------------------------------------------------------------------------------------------------


def _motion(frames: int = 6):
    from ram_avatar.motion.motion import PARTS, Motion

    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: 0.1 * torch.randn(*shape, generator=generator)
    made = template()
    return Motion(
        template=made.name,
        fps=25.0,
        root_rotation=draw(frames, 3),
        root_translation=torch.tensor([0.0, 3.0, 0.0]) + draw(frames, 3),
        pose=draw(frames, len(made.pose_joints), 3),
        facial_actions=draw(frames, len(made.action_names)).abs(),
        confidence=torch.ones(frames, len(PARTS)),
    )


def _read_motion(path: Path) -> object:
    from ram_avatar.motion.formats.reading import read_motion

    return read_motion(path, template())


def _own(folder: Path) -> list[bytes]:
    return [_bytes_of(_motion().save, folder / "good.npz")]


def _smpl(folder: Path) -> list[bytes]:
    random = np.random.default_rng(0)
    small = lambda *shape: 0.1 * random.standard_normal(shape)
    amass = {"poses": small(6, 156), "trans": small(6, 3), "mocap_framerate": np.float64(120), "dmpls": small(6, 8)}
    fitter = {"global_orient": small(6, 3), "body_pose": small(6, 63), "transl": small(6, 3), "fps": np.float32(30)}
    return [_npz(**amass), _npz(**fitter)]


def _npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _bvh(folder: Path) -> list[bytes]:
    from ram_avatar.motion.formats.writing import write_motion

    return [_bytes_of(lambda path: write_motion(path, _motion(), template(), None, SILENT), folder / "good.bvh")]


def _amc(folder: Path) -> list[bytes]:
    bones = ("hip", "femur", "tibia")
    blocks = "".join(
        f"  begin\n    id {number}\n    name {bone}\n    direction 0 -1 0\n    length 0.4\n    axis 0 0 0 XYZ\n"
        f"    dof rx ry rz\n    limits (-160 20)\n           (-70 70)\n           (-60 70)\n  end\n"
        for number, bone in enumerate(bones, start=1)
    )
    head = ":version 1.10\n:units\n  mass 1.0\n  length 0.45\n  angle deg\n:root\n  order TX TY TZ RX RY RZ\n"
    head += "  axis XYZ\n  position 0 0 0\n  orientation 0 0 0\n"
    tree = ":hierarchy\n  begin\n    root hip\n    hip femur\n    femur tibia\n  end\n"
    (folder / "in.asf").write_text(f"{head}:bonedata\n{blocks}{tree}")
    frames = "".join(
        f"{frame}\nroot 0 0 0 0 0 0\nhip 1 2 3\nfemur {frame} 2 3\ntibia 1 {frame} 3\n" for frame in range(1, 6)
    )
    return [f":FULLY-SPECIFIED\n:DEGREES\n{frames}".encode()]


def _asf(folder: Path) -> list[bytes]:
    motion = _amc(folder)[0]
    skeleton = (folder / "in.asf").read_bytes()
    (folder / "in.amc").write_bytes(motion)
    return [skeleton]


def _read_acclaim(path: Path) -> object:
    from ram_avatar.motion.formats.amc import read_amc

    return read_amc(path.with_suffix(".amc"))


def _csv(folder: Path) -> list[bytes]:
    names = [name[0].upper() + name[1:] for name in template().action_names]
    rows = [f"10:00:{k // 60:02d}:{k % 60:02d}.000,{len(names)}," + ",".join(["0.25"] * len(names)) for k in range(90)]
    live_link = "\n".join([f"Timecode,BlendShapeCount,{','.join(names)}", *rows])
    rows = [f"{k / 30},0.{k}" for k in range(9)]
    return [live_link.encode(), "\n".join(["timeCode,blendShapes.JawOpen", *rows]).encode()]


def _archive(folder: Path) -> list[bytes]:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/good.bvh", _bvh(folder)[0])
        archive.writestr("b.bvh", _bvh(folder)[0])
    return [file.getvalue()]


def _read_archive(path: Path) -> object:
    from ram_avatar.motion.alignment import pose_collection as poses
    from ram_avatar.motion.pose_features import PoseFeatures

    width = PoseFeatures(template()).width
    kept, held_out = poses.PoseCollection(width), poses.PoseCollection(width)
    return poses.collect_poses(poses.find_sources([path]), kept, held_out, 0.1, SILENT, workers=1)


def _joint_map(folder: Path) -> list[bytes]:
    from ram_avatar.motion import joint_map

    return [path.read_bytes() for path in sorted((Path(joint_map.__file__).parent / "joint_maps").glob("*.yaml"))]


def _read_joint_map(path: Path) -> object:
    from ram_avatar.motion.joint_map import JointMap, shipped_tables

    table = next(table for table in shipped_tables() if table.name == "motionbuilder")
    patterns = [name for names in table.parts.values() for name in names]
    names = [pattern.replace("{side}", side) for pattern in patterns for side in table.sides]
    return JointMap.find(list(dict.fromkeys(names)), path)


def _smplx_model(folder: Path) -> list[bytes]:
    """Make a model of a hundred vertices, without a shape."""
    from ram_avatar.body.smpl_joints import SMPLX

    count, random = 100, np.random.default_rng(0)
    joints = list(SMPLX)
    parents = [joints.index(parent) if parent else 2**32 - 1 for parent in SMPLX.values()]
    weights = random.random((count, len(joints)))
    arrays = {
        "v_template": random.random((count, 3)),
        "shapedirs": random.random((count, 3, 20)),
        "posedirs": random.random((count, 3, 486)),
        "J_regressor": random.random((len(joints), count)) / count,
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([parents, range(len(joints))]),
        "f": random.integers(0, count, (60, 3)).astype(np.uint32),
    }
    return [_npz(**arrays, joint2num=np.array({"pelvis": 0}, object))]


def _read_smplx_model(path: Path) -> object:
    from ram_avatar.body.smplx import read_model

    return read_model(path)


# Avatars and captures -------------------------------------------------------------------------------------------


def _avatar_file(name: str) -> Callable[[Path], list[bytes]]:
    def prepare(folder: Path) -> list[bytes]:
        from tiny_network import TINY_NETWORK
        from untrained_avatar import save_untrained

        made = folder / "made"
        save_untrained(made, template(), replace(TINY_NETWORK, keep_hands=False))
        for path in made.iterdir():
            path.rename(folder / path.name)
        made.rmdir()
        return [(folder / name).read_bytes()]

    return prepare


def _read_avatar(path: Path) -> object:
    """Load an avatar, and render a frame if it loads."""
    from ram_avatar.avatar import Avatar
    from ram_avatar.inference.render import render

    ram_avatar.avatar.load_template = template  # each input would read a hundred megabytes
    avatar = Avatar.load(path.parent)
    return next(iter(render(avatar, _motion(1))))


def _capture_file(name: str) -> Callable[[Path], list[bytes]]:
    def prepare(folder: Path) -> list[bytes]:
        from ram_avatar.capture.capture import NOBODY, Capture, LeftOut
        from ram_avatar.capture.footage import Footage
        from ram_avatar.core.camera import Camera

        motion = _motion(30)
        footage = Footage("video.mp4", 0, 0, 64, 48, to_scene=np.tile(np.eye(3), (30, 1, 1)), gains=np.ones((30, 3)))
        Capture(
            folder,
            "me.mp4",
            Camera.default(64, 48),
            motion,
            template().default_identity(),
            footage,
            known_background=True,
            report={"rotated": 0, "seen": 0.9},
            left_out=(LeftOut(3, 4, NOBODY),),
        ).write_description()
        for other in ("video.mp4", "masks.mkv", "background.png"):
            (folder / other).touch()
        return [(folder / name).read_bytes()]

    return prepare


def _read_capture(path: Path) -> object:
    from ram_avatar.capture.capture import Capture

    capture = Capture.load(path.parent)
    capture.check_template(template())
    return capture.train_frames, capture.framing(template()), capture.held_out_motion


def _recipe(folder: Path) -> list[bytes]:
    from ram_avatar import config

    shipped = sorted((Path(config.__file__).parent / "presets").glob("*.yaml"))
    return [*(path.read_bytes() for path in shipped), b"extends: lite\ntraining:\n  steps: 10\n  betas: [0.9, 0.99]\n"]


def _read_recipe(path: Path) -> object:
    from ram_avatar.config import load_preset

    return load_preset(str(path))


def _prior(folder: Path) -> list[bytes]:
    from ram_avatar.motion.alignment.networks import MotionPrior, PriorConfig
    from ram_avatar.motion.alignment.prior_file import save_prior
    from ram_avatar.motion.pose_features import PoseFeatures

    features = PoseFeatures(template())
    prior = MotionPrior(PriorConfig(features.width, 8, 4))
    write = lambda path: save_prior(path, prior, features.names, template().name, {"poses": 5})
    return [_bytes_of(write, folder / "good.safetensors")]


def _read_prior(path: Path) -> object:
    from ram_avatar.motion.alignment.prior_file import load_prior
    from ram_avatar.motion.pose_features import PoseFeatures

    return load_prior(path, template().name, PoseFeatures(template()).names)


def _modules() -> tuple[dict[str, torch.nn.Module], dict[str, torch.optim.Optimizer]]:
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {"net": module}, {"adam": optimizer}


def _checkpoint(folder: Path) -> list[bytes]:
    from ram_avatar.training.checkpoint import save_checkpoint

    return [_bytes_of(lambda path: save_checkpoint(path, *_modules(), {"step": 3}), folder / "good.safetensors")]


def _read_checkpoint(path: Path) -> object:
    from ram_avatar.training.checkpoint import load_checkpoint

    return load_checkpoint(path, *_modules())


def _profile(folder: Path) -> list[bytes]:
    described = {"format_version": 1, "template": template().name}
    described["identity"] = template().default_identity().tolist()
    described["neutral_face"] = [0.0] * len(template().action_names)
    return [json.dumps(described).encode()]


def _read_profile(path: Path) -> object:
    from ram_avatar.drivers import profiles

    profiles.cache_folder = lambda: path.parent.parent
    return profiles.Profile.load(path.stem, template())


# Pictures and live messages ---------------------------------------------------------------------------------------


def _picture(kind: str, **options: object) -> Callable[[Path], list[bytes]]:
    def prepare(folder: Path) -> list[bytes]:
        image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
        files = []
        for mode in ("RGB", "L", *(("RGBA", "P", "I;16") if kind == "PNG" else ())):
            file = io.BytesIO()
            image.convert("L" if mode == "I;16" else mode).convert(mode).save(file, kind, **options)
            files.append(file.getvalue())
        return files

    return prepare


def _read_picture(path: Path) -> object:
    from ram_avatar.core.untrusted.pictures import read_picture

    return read_picture(path)


def _camera_jpegs(folder: Path) -> list[bytes]:
    from ram_avatar.live.protocol import CameraFrame, Coding

    return [CameraFrame(1, 2.0, Coding.JPEG, jpeg).pack() for jpeg in _picture("JPEG", progressive=True)(folder)]


def _camera_h264(folder: Path) -> list[bytes]:
    from ram_avatar.live.protocol import CameraFrame
    from ram_avatar.live.session.codecs import ImageEncoder

    encoder = ImageEncoder(h264=True)
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    frames = []
    for number in range(3):
        coding, picture = encoder(np.roll(noise, number, 1))
        frames.append(CameraFrame(number, 40.0 * number, coding, picture).pack())
    return frames


def _read_camera(path: Path) -> object:
    from ram_avatar.live.protocol import CameraFrame
    from ram_avatar.live.session.codecs import FrameDecoder, KeyFrameRequired

    decode = FrameDecoder()
    try:
        for good in _camera_h264(path.parent)[:1]:
            frame = CameraFrame.unpack(good)
            decode(frame.coding, frame.picture)
        frame = CameraFrame.unpack(path.read_bytes())
        return decode(frame.coding, frame.picture)
    except KeyFrameRequired:
        return None


def _requests(folder: Path) -> list[bytes]:
    made = [
        {"type": "settings", "changes": {"mirror": False, "smoothing": 0.2, "face": {"jawOpen": 0.5}}},
        {"type": "settings", "changes": {"background": "#00b140", "fingers": {"left thumb": 1}}},
        {"type": "driver", "kind": "camera"},
        {"type": "record", "on": True},
    ]
    return [json.dumps(each).encode() for each in made]


def _read_request(path: Path) -> object:
    from ram_avatar.drivers.settings import Settings
    from ram_avatar.live.protocol import parse_request

    request = parse_request(path.read_bytes().decode("utf-8", "replace"))
    changes = request.get("changes")
    return Settings().changed(changes, template().action_names) if isinstance(changes, dict) else None


def _packets(folder: Path) -> list[bytes]:
    from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
    from pythonosc.osc_message_builder import OscMessageBuilder

    def message(address: str, *values: object):
        builder = OscMessageBuilder(address)
        for value in values:
            builder.add_arg(value)
        return builder.build()

    bone = message("/VMC/Ext/Bone/Pos", "Hips", 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    blend = message("/VMC/Ext/Blend/Val", "Joy", 0.5)
    bundle = OscBundleBuilder(IMMEDIATELY)
    for each in (bone, blend, message("/VMC/Ext/Blend/Apply")):
        bundle.add_content(each)
    return [bone.dgram, blend.dgram, bundle.build().dgram]


@functools.cache
def _receiver():
    from ram_avatar.drivers.vmc import VmcAddress, VmcReceiver

    logging.getLogger("ram_avatar.drivers.vmc").disabled = True  # it counts what is malformed, as it should
    return VmcReceiver(VmcAddress("127.0.0.1", 0))


def _read_packet(path: Path) -> object:
    return _receiver().take(path.read_bytes())


# Video ------------------------------------------------------------------------------------------------------------


def _videos(folder: Path) -> list[bytes]:
    files = []
    for suffix, codec in ((".mp4", "libx264"), (".webm", "libvpx"), (".mkv", "libx264"), (".avi", "mpeg4")):
        path = folder / f"good{suffix}"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            sound = container.add_stream({".webm": "libopus", ".avi": "mp3"}.get(suffix, "aac"), rate=48000)
            for number in range(8):
                image = np.full((48, 64, 3), 20 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
            noise = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.float32), format="fltp", layout="mono")
            noise.sample_rate = 48000
            container.mux(sound.encode(noise))
            container.mux(sound.encode(None))
        files.append(path.read_bytes())
        path.unlink()
    return files


def _read_video(path: Path) -> object:
    from ram_avatar.video import read_frames

    return sum(1 for _ in read_frames(path))


def _read_sound(path: Path) -> object:
    from fractions import Fraction

    from ram_avatar.video.sound import RATE, Sound

    sound = Sound(path)
    try:
        with av.open(str(path.with_suffix(".wav")), "w") as container:
            if sound.exists:
                sound.encode_into(container.add_stream("pcm_s16le", rate=RATE))
                sound.encode_until(Fraction(2))
    finally:
        sound.close()
        path.with_suffix(".wav").unlink(missing_ok=True)


def _read_upload(path: Path) -> object:
    from ram_avatar.video.untrusted import read_untrusted_picture

    return read_untrusted_picture(path, "upload")


_BYTES, _TEXT = (m.bytes_at_random,), (m.bytes_at_random, m.text_at_random, m.text_at_random)
_NPZ = (m.bytes_at_random, m.npz_at_random, m.npz_at_random)
_JSON = (m.bytes_at_random, m.json_at_random, m.json_at_random, m.json_at_random)
_TENSORS = (m.bytes_at_random, m.safetensors_at_random, m.safetensors_at_random)

READERS = {
    "motion": Reader("in.npz", _own, _read_motion, _NPZ),
    "smpl": Reader("in.npz", _smpl, _read_motion, _NPZ),
    "bvh": Reader("in.bvh", _bvh, _read_motion, _TEXT),
    "amc": Reader("in.amc", _amc, _read_acclaim, _TEXT),
    "asf": Reader("in.asf", _asf, _read_acclaim, _TEXT),
    "csv": Reader("in.csv", _csv, _read_motion, _TEXT),
    "motion archive": Reader("in.zip", _archive, _read_archive, (m.zip_at_random,), share=4),
    "joint map": Reader("in.yaml", _joint_map, _read_joint_map, _TEXT),
    "smplx model": Reader("in.npz", _smplx_model, _read_smplx_model, _NPZ),
    "avatar description": Reader("avatar.json", _avatar_file("avatar.json"), _read_avatar, _JSON),
    "avatar weights": Reader("weights.safetensors", _avatar_file("weights.safetensors"), _read_avatar, _TENSORS),
    "capture description": Reader("capture.json", _capture_file("capture.json"), _read_capture, _JSON),
    "camera path": Reader("camera_path.npz", _capture_file("camera_path.npz"), _read_capture, _NPZ),
    "recipe": Reader("in.yaml", _recipe, _read_recipe, _TEXT),
    "motion prior": Reader("in.safetensors", _prior, _read_prior, _TENSORS),
    "checkpoint": Reader("in.safetensors", _checkpoint, _read_checkpoint, _TENSORS),
    "profile": Reader("profiles/me.json", _profile, _read_profile, _JSON),
    "png": Reader("in.png", _picture("PNG"), _read_picture, (m.bytes_at_random, m.png_at_random)),
    "jpeg": Reader("in.png", _picture("JPEG"), _read_picture, (m.bytes_at_random, m.jpeg_at_random)),
    "webp": Reader("in.png", _picture("WEBP"), _read_picture, _BYTES),
    "camera jpeg": Reader("in.bin", _camera_jpegs, _read_camera, (m.bytes_at_random, m.jpeg_at_random)),
    "camera h264": Reader("in.bin", _camera_h264, _read_camera, _BYTES),
    "request": Reader("in.json", _requests, _read_request, _JSON),
    "packet": Reader("in.bin", _packets, _read_packet, _BYTES),
    "video": Reader("in.mp4", _videos, _read_video, _BYTES, confined=True, share=4),
    "sound": Reader("in.mp4", _videos, _read_sound, _BYTES, confined=True, share=4),
    "upload": Reader(
        "in.png", _picture("PNG"), _read_upload, (m.bytes_at_random, m.png_at_random), confined=True, share=4
    ),
}
