"""Warp kernels for CPU and CUDA: rasterization, line segments, and the maps of a frame.

Kernels are in Warp's own language: Python by syntax, with types of its own, compiled on first use.
"""

import warp as wp

NEAR_PLANE = 0.05
"""Triangles with a vertex at or nearer than this camera depth (metres) are not drawn."""

NEAR = wp.constant(NEAR_PLANE)
EMPTY = wp.constant(wp.int64(2**63 - 1))

# The edge test leaves no holes if swapping the ends of an edge exactly negates its edge function. A fused multiply-add,
# which rounds only one of the two products, would break that.
wp.set_module_options({"fuse_fp": False, "enable_backward": False})


@wp.func
def _first_pixel(low: float, size: int) -> int:
    """Return the first pixel in 0 .. size - 1 whose centre is at or after `low`; size if there is none."""
    return int(wp.clamp(wp.ceil(low - 0.5), 0.0, float(size)))


@wp.func
def _last_pixel(high: float, size: int) -> int:
    """Return the last pixel in 0 .. size - 1 whose centre is at or before `high`; -1 if there is none."""
    return int(wp.clamp(wp.floor(high - 0.5), -1.0, float(size - 1)))


@wp.func
def edge_functions(a: wp.vec3, b: wp.vec3, c: wp.vec3, x: float, y: float) -> wp.vec3:
    """Return twice the signed areas that a pixel centre spans with the edges opposite a, b and c.

    Corners are taken relative to the pixel centre: rounding then moves a corner equally for all triangles that share
    it, and the remaining sign is exact or 0, so a pixel on an edge always belongs to one of the two triangles.
    """
    ax, ay = a[0] - x, a[1] - y
    bx, by = b[0] - x, b[1] - y
    cx, cy = c[0] - x, c[1] - y
    return wp.vec3(bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx)


@wp.func
def _perspective_weights(
    points: wp.array2d(dtype=wp.vec3), face: wp.vec3i, picture: int, x: float, y: float
) -> wp.vec3:
    """Return the perspective-correct barycentric weights of a pixel centre."""
    a, b, c = points[picture, face[0]], points[picture, face[1]], points[picture, face[2]]
    edges = edge_functions(a, b, c, x, y)
    weight = wp.vec3(edges[0] * (1.0 / a[2]), edges[1] * (1.0 / b[2]), edges[2] * (1.0 / c[2]))
    return weight / (weight[0] + weight[1] + weight[2])


@wp.kernel
def z_pass(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    cull_backfaces: bool,
    nearest: wp.array3d(dtype=wp.int64),
):
    """Store in each pixel the smallest key (depth, triangle) of the triangles that cover it."""
    batch, index = wp.tid()
    height, width = nearest.shape[1], nearest.shape[2]
    face = faces[index]
    a, b, c = points[batch, face[0]], points[batch, face[1]], points[batch, face[2]]
    if not (wp.isfinite(a) and wp.isfinite(b) and wp.isfinite(c)):
        return
    if a[2] <= NEAR or b[2] <= NEAR or c[2] <= NEAR:
        return
    if cull_backfaces and not ((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) < 0.0):
        return

    left = _first_pixel(wp.min(a[0], wp.min(b[0], c[0])), width)
    right = _last_pixel(wp.max(a[0], wp.max(b[0], c[0])), width)
    top = _first_pixel(wp.min(a[1], wp.min(b[1], c[1])), height)
    bottom = _last_pixel(wp.max(a[1], wp.max(b[1], c[1])), height)
    if left > right or top > bottom:
        return  # between pixel centres, like most triangles
    inverse_z = wp.vec3(1.0 / a[2], 1.0 / b[2], 1.0 / c[2])
    for row in range(top, bottom + 1):
        for column in range(left, right + 1):
            edges = edge_functions(a, b, c, float(column) + 0.5, float(row) + 0.5)
            if wp.min(edges) >= 0.0 or wp.max(edges) <= 0.0:
                # 1 / z is linear in the image, z is not
                weight = edges[0] * inverse_z[0] + edges[1] * inverse_z[1] + edges[2] * inverse_z[2]
                z = (edges[0] + edges[1] + edges[2]) / weight
                if z > 0.0:  # false for a triangle without area: 0 / 0
                    # the bits of positive floats sort like the floats
                    key = (wp.int64(wp.cast(z, wp.int32)) << wp.int64(32)) | wp.int64(index)
                    wp.atomic_min(nearest, batch, row, column, key)


@wp.kernel
def resolve_pass(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    nearest: wp.array3d(dtype=wp.int64),
    triangle: wp.array3d(dtype=wp.int32),
    barycentric: wp.array3d(dtype=wp.vec3),
    depth: wp.array3d(dtype=wp.float32),
):
    """Unpack the keys of `z_pass`."""
    batch, row, column = wp.tid()
    key = nearest[batch, row, column]
    if key == EMPTY:
        triangle[batch, row, column] = -1
        barycentric[batch, row, column] = wp.vec3(0.0)
        depth[batch, row, column] = wp.inf
        return
    index = wp.int32(key & wp.int64(0xFFFFFFFF))
    triangle[batch, row, column] = index
    barycentric[batch, row, column] = _perspective_weights(
        points, faces[index], batch, float(column) + 0.5, float(row) + 0.5
    )
    depth[batch, row, column] = wp.cast(wp.int32(key >> wp.int64(32)), wp.float32)


@wp.kernel
def segment_pass(
    points: wp.array3d(dtype=wp.vec2),
    channels: wp.array(dtype=wp.int32),
    radius: float,
    picture: wp.array4d(dtype=wp.float32),
):
    """Raise the pixels around a segment to its coverage of them."""
    batch, segment = wp.tid()
    height, width = picture.shape[2], picture.shape[3]
    start, end = points[batch, segment, 0], points[batch, segment, 1]
    if not (wp.isfinite(start) and wp.isfinite(end)):
        return
    reach = radius + 0.5
    along = end - start
    length_squared = wp.max(wp.dot(along, along), 1.0e-20)  # a point is a segment too
    for row in range(
        _first_pixel(wp.min(start[1], end[1]) - reach, height),
        _last_pixel(wp.max(start[1], end[1]) + reach, height) + 1,
    ):
        for column in range(
            _first_pixel(wp.min(start[0], end[0]) - reach, width),
            _last_pixel(wp.max(start[0], end[0]) + reach, width) + 1,
        ):
            offset = wp.vec2(float(column) + 0.5, float(row) + 0.5) - start
            fraction = wp.clamp(wp.dot(offset, along) / length_squared, 0.0, 1.0)
            coverage = wp.clamp(reach - wp.length(offset - fraction * along), 0.0, 1.0)
            wp.atomic_max(picture, batch, channels[segment], row, column, coverage)


@wp.func
def _project(point: wp.vec3, lens: wp.array(dtype=wp.float32)) -> wp.vec3:
    """Project a point, see `Lens.project`."""
    scale = lens[0] / wp.max(point[1], 0.05)
    return wp.vec3(lens[1] + point[0] * scale, lens[2] - point[2] * scale, point[1])


@wp.kernel
def vertex_pass(
    vertices: wp.array(dtype=wp.vec3),
    starts: wp.array(dtype=wp.int32),
    neighbours: wp.array(dtype=wp.vec2i),
    kind: wp.array(dtype=wp.int32),
    eye_color: wp.array(dtype=wp.float32),
    lens: wp.array(dtype=wp.float32),
    expansion: float,
    points: wp.array2d(dtype=wp.vec3),
    look: wp.array(dtype=wp.vec3),
):
    """Project a vertex and its expanded copy, and compute the vertex's value in the face map."""
    index = wp.tid()
    vertex = vertices[index]
    normal = wp.vec3(0.0)
    for k in range(starts[index], starts[index + 1]):
        pair = neighbours[k]
        normal += wp.cross(vertices[pair[0]] - vertex, vertices[pair[1]] - vertex)
    normal = normal / wp.max(wp.length(normal), 1.0e-20)
    points[0, index] = _project(vertex, lens)
    points[1, index] = _project(vertex + expansion * normal, lens)
    shown = wp.vec3(0.0)
    if kind[index] == 1:
        shown = normal
    if kind[index] == 2:
        shown = wp.vec3(eye_color[index])
    look[index] = shown


@wp.func
def _texel(texels: wp.array(dtype=wp.vec3), level: wp.vec3i, u: float, v: float) -> wp.vec3:
    """Sample a level bilinearly, clamped to it: u to the right, v up, in [0, 1]. See `TextureLevels.packed`."""
    start, rows, columns = level[0], level[1], level[2]
    x = wp.clamp(u * float(columns) - 0.5, 0.0, float(columns - 1))
    y = wp.clamp((1.0 - v) * float(rows) - 0.5, 0.0, float(rows - 1))
    left, top = int(wp.floor(x)), int(wp.floor(y))
    right, bottom = wp.min(left + 1, columns - 1), wp.min(top + 1, rows - 1)
    fx, fy = x - float(left), y - float(top)
    upper, lower = start + top * columns, start + bottom * columns
    above = texels[upper + left] * (1.0 - fx) + texels[upper + right] * fx
    below = texels[lower + left] * (1.0 - fx) + texels[lower + right] * fx
    return above * (1.0 - fy) + below * fy


@wp.func
def _surface_color(
    weight: wp.vec3,
    corner: wp.vec3i,
    uv: wp.array(dtype=wp.vec2),
    texels: wp.array(dtype=wp.vec3),
    level: wp.vec3i,
) -> wp.vec3:
    """Sample a level of the texture at barycentric weights of a triangle."""
    at = weight[0] * uv[corner[0]] + weight[1] * uv[corner[1]] + weight[2] * uv[corner[2]]
    return _texel(texels, level, at[0], at[1])


@wp.kernel
def pixel_pass(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    nearest: wp.array3d(dtype=wp.int64),
    look: wp.array(dtype=wp.vec3),
    novelty: wp.array(dtype=wp.float32),
    canonical: wp.array(dtype=wp.vec3),
    uv: wp.array(dtype=wp.vec2),
    uv_faces: wp.array(dtype=wp.vec3i),
    texels: wp.array(dtype=wp.vec3),
    levels: wp.array(dtype=wp.vec3i),
    number: wp.array(dtype=wp.int32),
    textured: bool,
    first_row: int,
    first_column: int,
    position: wp.array3d(dtype=wp.vec4),
    face_map: wp.array2d(dtype=wp.vec3),
    color: wp.array2d(dtype=wp.vec4),
):
    """Interpolate the nearest triangle: canonical position, and for the body itself face map, colour and novelty."""
    picture, row, column = wp.tid()
    row += first_row
    column += first_column
    key = nearest[picture, row, column]
    if key == EMPTY:
        return
    index = wp.int32(key & wp.int64(0xFFFFFFFF))
    face = faces[index]
    weight = _perspective_weights(points, face, picture, float(column) + 0.5, float(row) + 0.5)
    place = weight[0] * canonical[face[0]] + weight[1] * canonical[face[1]] + weight[2] * canonical[face[2]]
    position[picture, row, column] = wp.vec4(place[0], place[1], place[2], 1.0)
    if picture == 1:
        return
    face_map[row, column] = weight[0] * look[face[0]] + weight[1] * look[face[1]] + weight[2] * look[face[2]]
    novel = weight[0] * novelty[face[0]] + weight[1] * novelty[face[1]] + weight[2] * novelty[face[2]]
    shown = wp.vec3(0.0)
    if textured:
        shown = _surface_color(weight, uv_faces[index], uv, texels, levels[number[0]])
    color[row, column] = wp.vec4(shown[0], shown[1], shown[2], novel)


@wp.kernel
def attribute_pass(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    nearest: wp.array3d(dtype=wp.int64),
    attributes: wp.array(dtype=wp.vec3),
    shown: wp.array2d(dtype=wp.vec4),
):
    """Interpolate an attribute of the nearest triangle's corners; then coverage."""
    row, column = wp.tid()
    key = nearest[0, row, column]
    if key == EMPTY:
        return
    face = faces[wp.int32(key & wp.int64(0xFFFFFFFF))]
    weight = _perspective_weights(points, face, 0, float(column) + 0.5, float(row) + 0.5)
    value = weight[0] * attributes[face[0]] + weight[1] * attributes[face[1]] + weight[2] * attributes[face[2]]
    shown[row, column] = wp.vec4(value[0], value[1], value[2], 1.0)


@wp.kernel
def surface_pass(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    nearest: wp.array3d(dtype=wp.int64),
    uv: wp.array(dtype=wp.vec2),
    uv_faces: wp.array(dtype=wp.vec3i),
    texels: wp.array(dtype=wp.vec3),
    levels: wp.array(dtype=wp.vec3i),
    number: wp.array(dtype=wp.int32),
    textured: bool,
    surface: wp.array2d(dtype=wp.vec4),
):
    """Sample the texture where the nearest triangle shows it; then coverage."""
    row, column = wp.tid()
    key = nearest[0, row, column]
    if key == EMPTY:
        return
    index = wp.int32(key & wp.int64(0xFFFFFFFF))
    shown = wp.vec3(0.0)
    if textured:
        weight = _perspective_weights(points, faces[index], 0, float(column) + 0.5, float(row) + 0.5)
        shown = _surface_color(weight, uv_faces[index], uv, texels, levels[number[0]])
    surface[row, column] = wp.vec4(shown[0], shown[1], shown[2], 1.0)


@wp.func
def _cubic(distance: float) -> float:
    """Return Keys' kernel, see `resampling.weights`."""
    x = wp.abs(distance)
    if x < 1.0:
        return (1.5 * x - 2.5) * x * x + 1.0
    if x < 2.0:
        return ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return 0.0


@wp.kernel
def enlarge_pass(
    painting: wp.array3d(dtype=wp.float32),
    inlay: wp.array(dtype=wp.float32),
    enlarged: wp.array3d(dtype=wp.float32),
):
    """Sample the square's painting [C, S, S] at a pixel of the picture [C, H, W]; NaN where the square is not.

    The inlay is zoom, left and top of an `Inlay` whose zoom is at least 1.
    """
    row, column = wp.tid()
    zoom, left, top = inlay[0], inlay[1], inlay[2]
    rows, columns = painting.shape[1], painting.shape[2]
    x, y = (float(column) + 0.5 - left) / zoom, (float(row) + 0.5 - top) / zoom
    half = 0.5 / zoom
    if x + half <= 0.0 or y + half <= 0.0 or x - half >= float(columns) or y - half >= float(rows):
        for channel in range(painting.shape[0]):
            enlarged[channel, row, column] = wp.nan
        return
    first_column, first_row = int(wp.floor(x - 0.5)) - 1, int(wp.floor(y - 0.5)) - 1
    across, down = wp.vec4(0.0), wp.vec4(0.0)
    for k in range(4):
        across[k] = _cubic(x - (float(first_column + k) + 0.5))
        down[k] = _cubic(y - (float(first_row + k) + 0.5))
    for channel in range(painting.shape[0]):
        total = float(0.0)
        for j in range(4):
            line = wp.clamp(first_row + j, 0, rows - 1)
            for i in range(4):
                total += down[j] * across[i] * painting[channel, line, wp.clamp(first_column + i, 0, columns - 1)]
        enlarged[channel, row, column] = total


@wp.func
def _soft_edge(surface: wp.array2d(dtype=wp.vec4), row: int, column: int) -> float:
    """Return the coverage about a pixel, see `opacity.soft_outline`."""
    if row > 0 and column > 0 and row + 1 < surface.shape[0] and column + 1 < surface.shape[1]:
        inner = float(0.0)
        for y in range(-1, 2):
            for x in range(-1, 2):
                inner += surface[row + y, column + x][3]
        return inner / 9.0
    total, count = float(0.0), float(0.0)
    for y in range(wp.max(row - 1, 0), wp.min(row + 2, surface.shape[0])):
        for x in range(wp.max(column - 1, 0), wp.min(column + 2, surface.shape[1])):
            total += surface[y, x][3]
            count += 1.0
    return total / count


@wp.kernel
def composite_pass(
    painting: wp.array3d(dtype=wp.float32),
    surface: wp.array2d(dtype=wp.vec4),
    first_row: int,
    has_alpha: bool,
    belief: float,
    enlarged: bool,
    clear: float,
    opaque: float,
    picture: wp.array3d(dtype=wp.uint8),
):
    """Composite the person over a picture [H, W, 3], or write them with straight alpha into [H, W, 4]."""
    row, column = wp.tid()
    if wp.isnan(painting[0, row, column]):  # beyond the square
        return
    at = row + first_row
    edge = _soft_edge(surface, at, column)
    detail = float(0.0)
    if enlarged:
        detail = wp.max(2.0 * edge - 1.0, 0.0) * wp.max(painting[6, row, column], 0.0)
    alpha = float(1.0)
    if has_alpha:
        logit = float(painting[7, row, column])
        solid = wp.clamp(painting[9, row, column], 0.0, 1.0)
        near = wp.clamp(painting[8, row, column], 0.0, 1.0)
        if near > 0.0:
            covered = surface[at, column][3]
            surer = wp.min(logit, 0.0)
            if covered > 0.0:
                surer = wp.max(logit, 0.0)
            logit += near * (surer - logit)
            if not enlarged:
                edge += near * (covered - edge)
        logit = 4.0 * (logit + belief * (2.0 * edge - 1.0))
        if logit < -8.0 and solid == 0.0:  # surely clear, like most of a picture
            return
        alpha = 1.0 / (1.0 + wp.exp(-logit))
        alpha += solid * (1.0 - alpha)
        alpha = wp.clamp((alpha - clear) / (opaque - clear), 0.0, 1.0)
    if alpha == 0.0:
        return
    for channel in range(3):
        base = painting[channel, row, column]
        color = base + painting[3 + channel, row, column] + detail * (surface[at, column][channel] - base)
        shown = 127.5 * (wp.clamp(color, -1.0, 1.0) + 1.0)
        if picture.shape[2] == 3:
            behind = float(picture[row, column, channel])
            shown = behind + alpha * (shown - behind)
        picture[row, column, channel] = wp.uint8(shown + 0.5)
    if picture.shape[2] == 4:
        picture[row, column, 3] = wp.uint8(255.0 * alpha + 0.5)
