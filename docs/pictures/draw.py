"""Draws the diagrams of the documentation as SVG: `python docs/pictures/draw.py`.

All text is in filled boxes, and arrows have a gray that is visible on white and on black, so that one file serves light
and dark pages.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
FILLS = {"plain": "#e8ebef", "ours": "#cfe3f7", "checked": "#cdebdf", "refused": "#f8d5d9"}
INK, GRAY = "#16191d", "#7b828c"
LINE_HEIGHT = 17
Point = tuple[float, float]


class Drawing:
    """Boxes with lines of text, and arrows between points.

    Args:
        width: of the drawing, in pixels.
        height: of the drawing, in pixels.
        description: what the drawing shows, for readers who do not see it.
    """

    def __init__(self, width: int, height: int, description: str) -> None:
        self.size = width, height
        self.parts = [f"<title>{description}</title>"]

    def box(self, x: float, y: float, width: float, height: float, *lines: str, kind: str = "plain") -> None:
        """A box with its left top corner at (x, y); its first line is bold."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{FILLS[kind]}" stroke="{GRAY}"/>'
        )
        first = y + height / 2 - (len(lines) - 1) * LINE_HEIGHT / 2 + 4.5
        for number, line in enumerate(lines):
            weight = ' font-weight="600"' if number == 0 and len(lines) > 1 else ""
            self.parts.append(f'<text x="{x + width / 2}" y="{first + number * LINE_HEIGHT}"{weight}>{line}</text>')

    def arrow(self, *points: Point) -> None:
        """An arrow along points."""
        path = " ".join(f"{x},{y}" for x, y in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{GRAY}" stroke-width="2" marker-end="url(#head)"/>'
        )

    def write(self, name: str) -> None:
        width, height = self.size
        head = (
            '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0 10 5 0 10z" fill="{GRAY}"/></marker>'
        )
        (FOLDER / f"{name}.svg").write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" font-family="system-ui, sans-serif" font-size="13" text-anchor="middle" fill="{INK}">\n'
            f"<defs>{head}</defs>\n" + "\n".join(self.parts) + "\n</svg>\n"
        )


def conversion() -> None:
    """A checkpoint is joined with the manifest, and what is left over is an error."""
    drawing = Drawing(
        *(760, 330),
        "A file's tensors are joined with the names that a dialect derives from the manifest. The result is canonical "
        "weights, which another dialect and format write, read back and compare. What the join leaves over on either "
        "side refuses the file.",
    )
    drawing.box(10, 20, 170, 60, "manifest", "name, axes, shape", kind="ours")
    drawing.box(10, 130, 170, 60, "dialect", "foreign name, axes", kind="ours")
    drawing.box(10, 240, 170, 60, "file", "names and arrays")
    drawing.arrow((95, 80), (95, 130))
    drawing.box(240, 130, 130, 60, "join", "name by name", kind="ours")
    drawing.arrow((180, 160), (240, 160))
    drawing.arrow((180, 270), (305, 270), (305, 190))
    drawing.box(240, 20, 130, 60, "left over: error", "- missing  + other", kind="refused")
    drawing.arrow((305, 130), (305, 80))
    drawing.box(430, 130, 150, 60, "canonical weights", "bit for bit", kind="checked")
    drawing.arrow((370, 160), (430, 160))
    drawing.box(430, 20, 150, 60, "a model", "in any framework")
    drawing.arrow((505, 130), (505, 80))
    drawing.box(430, 240, 150, 60, "temporary file", "other names, format", kind="ours")
    drawing.arrow((505, 190), (505, 240))
    drawing.box(625, 240, 125, 60, "target", "renamed last", kind="checked")
    drawing.arrow((580, 270), (625, 270))
    drawing.box(625, 130, 125, 60, "read back", "and compared", kind="ours")
    drawing.arrow((580, 255), (602, 255), (602, 160), (625, 160))
    drawing.arrow((688, 190), (688, 240))
    drawing.write("conversion")


def parity() -> None:
    """The same weights and images in the reference and in every worker."""
    drawing = Drawing(
        *(760, 330),
        "The same weights and images go to a float64 reference, which is derived from the network's graph, and to one "
        "worker process for each framework. The reference's logits and a limit derived from rounding judge the logits "
        "of every mode and dtype.",
    )
    drawing.box(10, 130, 150, 70, "case", "network, weights,", "images", kind="ours")
    drawing.box(230, 20, 190, 60, "float64 reference", "numpy, from the graph", kind="checked")
    drawing.box(230, 105, 190, 50, "PyTorch", "eager, compile, export, xla")
    drawing.box(230, 180, 190, 50, "Keras 3", "eager, graph, xla")
    drawing.box(230, 255, 190, 50, "Flax NNX", "eager, jit, linen")
    for y in (50, 130, 205, 280):
        drawing.arrow((160, 165), (195, 165), (195, y), (230, y))
    drawing.box(490, 20, 150, 60, "limit", "simulated rounding", kind="checked")
    drawing.arrow((420, 50), (490, 50))
    drawing.box(490, 165, 150, 60, "difference", "share of the range", kind="ours")
    for y in (130, 205, 280):
        drawing.arrow((420, y), (455, y), (455, 195), (490, 195))
    drawing.arrow((420, 65), (440, 65), (440, 110), (530, 110), (530, 165))
    drawing.box(670, 100, 80, 60, "verdict", "0 or 1", kind="checked")
    drawing.arrow((640, 50), (710, 50), (710, 100))
    drawing.arrow((640, 195), (710, 195), (710, 160))
    drawing.write("parity")


def se_block() -> None:
    """The SE layer in the three layouts."""
    drawing = Drawing(
        *(860, 300),
        "An SE layer: the mean over space squeezes the input to one value for each channel; two dense layers with ReLU "
        "and sigmoid turn these into gates, which scale the channels of the input. PyTorch has channels first, Keras "
        "and Flax last; weights of dense layers are (out, in) in PyTorch and (in, out) in the others.",
    )
    drawing.box(10, 15, 110, 40, "step", kind="ours")
    rows = {"PyTorch": 60, "Keras 3": 145, "Flax NNX": 230}
    last = ("N, H, W, C", "mean(axes 1, 2)", "kernel C, C/r", "kernel C/r, C", "N, 1, 1, C")
    cells = {
        "PyTorch": ("N, C, H, W", "mean(dims 2, 3)", "weight C/r, C", "weight C, C/r", "N, C, 1, 1"),
        "Keras 3": last,
        "Flax NNX": last,
    }
    heads = ("input x", "squeeze (eq. 2)", "fc1, ReLU", "fc2, sigmoid (eq. 3)", "scale x (eq. 4)")
    edges = (140, 265, 415, 550, 725)
    widths = (95, 120, 105, 145, 125)
    for x, width, head in zip(edges, widths, heads, strict=True):
        drawing.box(x, 15, width, 40, head, kind="ours")
    for framework, y in rows.items():
        drawing.box(10, y + 10, 110, 50, framework, kind="ours")
        for number, (x, width, cell) in enumerate(zip(edges, widths, cells[framework], strict=True)):
            drawing.box(x, y + 10, width, 50, cell, kind="checked" if number in (0, 4) else "plain")
        for x, width, following in zip(edges, widths, edges[1:], strict=False):
            drawing.arrow((x + width, y + 35), (following, y + 35))
    drawing.write("se_block")


if __name__ == "__main__":
    conversion()
    parity()
    se_block()
