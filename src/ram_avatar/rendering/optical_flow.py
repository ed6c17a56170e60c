"""Optical flow from a drawing to a frame."""

import cv2
import numpy as np

INCONSISTENT = 1.0  # pixels: gap between a point and where the flow there and back leads
LEAST_SIZE = 32  # pixels: smaller images have no flow
_PERSON = 100  # of 255, in the mask


def trusted_flow(drawing: np.ndarray, frame: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the optical flow [H, W, 2] from a drawing to a frame, and where to trust it [H, W] bool.

    It is trusted on the person, where the flow back leads to where it began. Sides are at least `LEAST_SIZE`.
    """
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    method.setFinestScale(0)
    before, after = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (drawing, frame))
    flow, back = (
        method.calc(one, other, None)  # type: ignore[call-overload]  # the initial flow is optional
        for one, other in ((before, after), (after, before))
    )
    y, x = np.mgrid[: len(flow), : flow.shape[1]].astype(np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    gap = np.linalg.norm(flow + cv2.remap(back, x, y, cv2.INTER_LINEAR), axis=-1)
    on_person = cv2.remap(mask, x, y, cv2.INTER_LINEAR) > _PERSON
    return flow, (gap < INCONSISTENT) & on_person
