"""Joints of the SMPL family of bodies, in the order of their indices in files, each with its parent."""

_BODY = {
    "pelvis": "",
    "left_hip": "pelvis",
    "right_hip": "pelvis",
    "spine1": "pelvis",
    "left_knee": "left_hip",
    "right_knee": "right_hip",
    "spine2": "spine1",
    "left_ankle": "left_knee",
    "right_ankle": "right_knee",
    "spine3": "spine2",
    "left_foot": "left_ankle",
    "right_foot": "right_ankle",
    "neck": "spine3",
    "left_collar": "spine3",
    "right_collar": "spine3",
    "head": "neck",
    "left_shoulder": "left_collar",
    "right_shoulder": "right_collar",
    "left_elbow": "left_shoulder",
    "right_elbow": "right_shoulder",
    "left_wrist": "left_elbow",
    "right_wrist": "right_elbow",
}
_FINGERS = {
    f"{side}_{finger}{number}": f"{side}_{finger}{number - 1}" if number > 1 else f"{side}_wrist"
    for side in ("left", "right")
    for finger in ("index", "middle", "pinky", "ring", "thumb")
    for number in (1, 2, 3)
}
_FACE = {"jaw": "head", "left_eye_smplhf": "head", "right_eye_smplhf": "head"}
SMPL = {**_BODY, "left_hand": "left_wrist", "right_hand": "right_wrist"}
SMPLH = {**_BODY, **_FINGERS}
SMPLX = {**_BODY, **_FACE, **_FINGERS}
