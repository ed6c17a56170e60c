"""Manual control of the face and fingers by sliders."""

from dataclasses import replace

import numpy as np

from ...body.anatomy import anatomy_of
from ...body.template import FINGERS as ROLES
from ...body.template import SIDES, BodyTemplate
from ...drivers.settings import FINGERS, Settings
from ...motion.motion import Frame

_BENT = (1.2, 1.6, 1.0)  # flexion of the three joints of a bent finger, radians
_BENT_THUMB = (0.4, 0.7, 0.9)


class ManualControl:
    """Overrides the driver's facial actions and fingers with those that a slider sets."""

    def __init__(self, template: BodyTemplate):
        self._actions = {name: i for i, name in enumerate(template.action_names)}
        axes = anatomy_of(template).axes.double().numpy()
        self._fingers: dict[str, tuple[list[int], np.ndarray]] = {}
        for i, name in enumerate(FINGERS):
            side, finger = SIDES[i // len(ROLES)], ROLES[i % len(ROLES)]
            joints = [template.pose_joints.index(template.roles[f"{finger}{k}.{side}"]) for k in (1, 2, 3)]
            bent = np.array(_BENT_THUMB if finger == "thumb" else _BENT)
            self._fingers[name] = joints, axes[joints, :, 0] * bent[:, None]  # rotation vectors [3, 3] at 1

    def __call__(self, frame: Frame, settings: Settings) -> Frame:
        """Return the frame with the sliders applied."""
        if not settings.face and not settings.fingers:
            return frame
        actions, pose = frame.facial_actions.copy(), frame.pose.copy()
        for name, value in settings.face.items():
            actions[self._actions[name]] = value
        for name, value in settings.fingers.items():
            joints, bent = self._fingers[name]
            pose[joints] = value * bent
        return replace(frame, facial_actions=actions, pose=pose)
