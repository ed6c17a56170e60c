"""Weights of the energy that the offline fit and the live solve minimize: the home of its numbers.

Residuals in the image are in units of the person's height; directions of bones cost 1 - cos of the angle that they are
off; angles are radians, translations metres and facial actions go from 0 to 1.
"""

from .detection.topology import HIPS, LIMB_BONES, SHOULDERS, Topology

# Reprojection: robust (Geman and McClure), per landmark.
POSE = 400.0
HAND = 400.0
FACE = 120.0
EXPRESSIVE = 3.0  # factor of lids and lips, where a millimetre is an expression
SKIN = {
    "nose": 0.2, "left_ear": 0.2, "right_ear": 0.2,
    "left_heel": 0.5, "right_heel": 0.5, "left_big_toe": 0.5, "right_big_toe": 0.5,
}  # fmt: skip
"""Factor of pose landmarks on the skin; joints have 1."""
BODY_SCALE, HAND_SCALE, FACE_SCALE = 0.06, 0.03, 0.03  # residuals beyond this share of the height are outliers

# Directions of bones in space, by the detector's own depth.
POSE_BONES = (
    *LIMB_BONES,
    SHOULDERS,
    HIPS,
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("left_heel", "left_big_toe"),
    ("right_heel", "right_big_toe"),
)
"""(from, to), those of the limbs first."""
BONE = 0.6
HAND_BONE = 0.15
REST = 10.0  # of a hidden limb's bone, toward its direction at rest
UPRIGHT = 30.0  # of hips whose legs are both at rest: the spine leans, they do not

# Priors.
POSE_PRIOR = 0.02  # times the stiffness of each angle (`anatomy`)
RANGE = 5.0  # of hinges that bend backwards and fingers that curl too far
BACKWARDS = 0.05  # radians by which a hinge may bend backwards
SPARSE_ACTIONS = 0.015
NET = 1.0  # of the blendshape net's actions

# Changes from frame to frame.
ANGLES_CHANGE = 0.4
ROOT_CHANGE = 2.0
TRANSLATION_CHANGE = 20.0
DEPTH = 4.0  # factor of changes in depth, the least certain of the three axes
ACTIONS_CHANGE = 0.3


def pose_weights(landmarks: list[int], topology: Topology) -> list[float]:
    """Return the factor of each pose landmark."""
    factors = {topology.pose[role]: factor for role, factor in SKIN.items()}
    return [factors.get(landmark, 1.0) for landmark in landmarks]
