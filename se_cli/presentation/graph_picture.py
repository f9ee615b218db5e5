"""Draws the graph of a network as SVG: one row for each operation, and an arc where an output skips rows."""

from collections.abc import Iterator
from dataclasses import MISSING, fields
from html import escape

from se_spec import Graph
from se_spec.graph import IMAGES
from se_spec.layers import Operation, Shape

ROW, LANE, MARGIN = 22, 14, 16
"""Height of a row, distance between arcs, and margin, in pixels."""

COLUMNS = {"path": 20, "operation": 220}
"""Where the texts of a row begin, in pixels to the right of its dot."""

WIDTH = 680
"""From the dots to the right end of the texts, in pixels."""

IN_SHAPES = ("in_channels", "out_channels", "channels", "inputs", "outputs", "folded", "role")
"""Settings that the shapes of inputs and outputs, or the rows around, already show."""

STYLE = """
  svg { background: #ffffff; font: 12px ui-monospace, monospace }
  text { fill: #1f2328 } .layer { font-weight: 600 } .output { fill: #59636e; text-anchor: end }
  line, path { stroke: #7a8591; fill: none } path { stroke: #00798c } circle { fill: #7a8591 } .dot { fill: #d1495b }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117 } text { fill: #e6edf3 } .output { fill: #9198a1 }
    line { stroke: #6e7681 } path { stroke: #39b5c9 } circle { fill: #6e7681 } .dot { fill: #ff7b8a }
  }
"""


def draw_graph(graph: Graph, images: Shape) -> str:
    """Draw a graph.

    Args:
        graph: the operations of a network.
        images: (C, H, W) of an image, from which the shapes of the outputs follow.

    Returns:
        The text of an SVG file.
    """
    shapes = graph.shapes(images)
    rows = {IMAGES: 0} | {node.path: row for row, node in enumerate(graph.nodes, start=1)}
    skips = [(rows[path], rows[node.path]) for node in graph.nodes for path in node.inputs]
    lanes = _lanes([(begin, end) for begin, end in skips if end - begin > 1])
    left = MARGIN + LANE * (max(lanes.values(), default=0) + 1)
    width, height = left + WIDTH + MARGIN, 2 * MARGIN + ROW * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<style>{STYLE}</style>",
        *(_line(left, begin, end) for begin, end in skips if end - begin == 1),
        *(_arc(left, begin, end, lane) for (begin, end), lane in lanes.items()),
        *_row(left, 0, IMAGES, "", images, layer=False),
    ]
    for node in graph.nodes:
        text = describe_operation(node.operation)
        parts += _row(left, rows[node.path], node.path, text, shapes[node.path], layer=bool(node.position))
    return "\n".join([*parts, "</svg>", ""])


def describe_operation(operation: Operation) -> str:
    """What an operation computes, with the settings that differ from their defaults.

    Args:
        operation: the operation.
    """
    settings = [
        f"{own.name}={value}"
        for own in fields(operation)
        if own.name not in IN_SHAPES
        and (own.default is MISSING or getattr(operation, own.name) != own.default)
        and (value := getattr(operation, own.name))
    ]
    return " ".join([type(operation).__name__, *settings])


def _lanes(arcs: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """The lane of each arc, from 1: shorter arcs are further inside, and arcs of one lane do not touch."""
    lanes: dict[tuple[int, int], int] = {}
    for begin, end in sorted(set(arcs), key=lambda arc: arc[1] - arc[0]):
        taken = {lane for (other, last), lane in lanes.items() if other <= end and begin <= last}
        lanes[begin, end] = next(lane for lane in range(1, len(arcs) + 1) if lane not in taken)
    return lanes


def _y(row: int) -> int:
    return MARGIN + ROW // 2 + ROW * row


def _line(x: int, begin: int, end: int) -> str:
    return f'<line x1="{x}" y1="{_y(begin)}" x2="{x}" y2="{_y(end)}"/>'


def _arc(x: int, begin: int, end: int, lane: int) -> str:
    outer, bend = x - LANE * lane, LANE // 2
    return (
        f'<path d="M{x},{_y(begin)} H{outer + bend} q-{bend},0 -{bend},{bend} '
        f'V{_y(end) - bend} q0,{bend} {bend},{bend} H{x}"/>'
    )


def _row(x: int, row: int, path: str, operation: str, output: Shape, *, layer: bool) -> Iterator[str]:
    y, kind = _y(row), ' class="dot"' if layer else ""
    yield f'<circle cx="{x}" cy="{y}" r="4"{kind}/>'
    weight = ' class="layer"' if layer else ""
    yield f'<text x="{x + COLUMNS["path"]}" y="{y + 4}"{weight}>{escape(path)}</text>'
    yield f'<text x="{x + COLUMNS["operation"]}" y="{y + 4}">{escape(operation)}</text>'
    yield f'<text x="{x + WIDTH}" y="{y + 4}" class="output">{"x".join(map(str, output))}</text>'
