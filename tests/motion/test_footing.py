import pytest

from ram_avatar.body.kinematics import Kinematics
from ram_avatar.motion.retargeting.footing import heels_and_balls, lowest_candidates


@pytest.mark.parametrize(("bow", "tolerance"), [(0.0, 0.001), (-1.57, 0.04), (1.57, 0.04)])
def test_the_lowest_point_is_found(template, random_motion, bow, tolerance):
    """Against the whole mesh, of somebody who stands, lies on the back, lies on the face."""
    kinematics = Kinematics(template, template.default_identity())
    feet, others = lowest_candidates(template)
    body, points = template.body(template.default_identity()), kinematics.vertices(feet + others)
    motion = random_motion(20, seed=2, turn=0.15)
    motion.root_rotation[:, 0] += bow
    lowest = body.pose(*motion.parameters()).vertices[..., 2].amin(1)
    for index, frame in enumerate(motion.frames()):
        joints = kinematics.pose(frame.root_rotation, frame.root_translation, frame.pose)
        assert abs(points.at(joints)[:, 2].min() - float(lowest[index])) < tolerance


def test_heels_are_behind_balls(template):
    vertices = template.body(template.default_identity()).reference_vertices()
    left_heel, left_ball, right_heel, right_ball = (vertices[group].mean(0) for group in heels_and_balls(template))
    for heel, ball in ((left_heel, left_ball), (right_heel, right_ball)):
        assert 0.08 < heel[1] - ball[1] < 0.25 and abs(heel[2] - ball[2]) < 0.03
    assert left_heel[0] > 0.05 > -0.05 > right_heel[0]
