import numpy as np
import torch
from scipy.spatial.distance import cdist

from ram_avatar.motion.alignment.posture import Distance, Posture
from ram_avatar.motion.pose_features import PoseFeatures, split_heading


def test_markers_are_where_the_posed_template_has_them(template, random_motion):
    """NumPy's kinematics compared with the template's own posing."""
    motion = random_motion(6, turn=0.6)
    features = PoseFeatures(template)
    posture = Posture(template, features)
    root, pose = motion.root_rotation.double().numpy(), motion.pose.double().numpy()
    still = np.zeros_like(pose)
    still[:, features.joints] = pose[:, features.joints]
    tilt = torch.from_numpy(split_heading(root)[0]).float()
    body = template.body(template.default_identity())
    posed = body.pose(
        tilt, torch.zeros(6, 3), torch.from_numpy(still).float(), torch.zeros(6, len(template.action_names))
    )
    columns = [template.joint_names.index(name) for name in posture.names]
    slow = (posed.joints[:, columns, :3, 3] - posed.joints[:, :1, :3, 3]).numpy()
    markers = posture.markers(features.rotations(root, pose))
    assert np.abs(markers - slow).max() < 1e-5
    assert np.allclose(posture.markers(features.rotations(root[2], pose[2])), markers[2], atol=1e-12)


def test_markers_show_rotations_of_hands_feet_and_head(template):
    names = Posture(template, PoseFeatures(template)).names
    for side in "LR":
        for part in ("wrist", "finger2-1", "finger5-1", "foot", "toe1-1", "toe5-1", "eye"):
            assert f"{part}.{side}" in names


def test_distance_agrees_with_a_search_over_all_postures():
    random = np.random.default_rng(0)
    known, asked = random.normal(size=(70, 5, 3)), random.normal(size=(20, 5, 3))
    slow = cdist(asked.reshape(20, -1), known.reshape(70, -1)).min(1) / np.sqrt(5)
    distance = Distance(known)
    assert np.allclose(distance(asked), slow, atol=1e-5)
    assert np.allclose(distance(known), 0, atol=2e-3)
    assert abs(float(distance(asked[3])) - slow[3]) < 1e-5
