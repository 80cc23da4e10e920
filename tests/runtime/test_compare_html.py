"""HTML tables by cells; SVG and styled tables whose identifiers are drawn at random."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.compare_html import html_difference
from nbrw_runtime.tolerance import DEFAULT, Tolerance

ONE = "0f2d9d4e-1b8f-4c11-8f2a-5a1c7d9e0b12"
OTHER = "1f2d9d4e-1b8f-4c11-8f2a-5a1c7d9e0b12"
FRAME = (
    '<table border="1"><thead><tr style="text-align: right;"><th></th><th>mean</th><th>n</th></tr>'
    "</thead><tbody><tr><th>a</th><td>0.5</td><td>3</td></tr><tr><th>b</th><td>0.52</td>"
    "<td>4</td></tr></tbody></table>"
)


def difference(old, new, tolerance=DEFAULT):
    """The phrase, which is the same whether there is one either way round."""
    found = html_difference(old, new, tolerance)
    assert (found is None) == (html_difference(new, old, tolerance) is None)
    return found


@pytest.mark.parametrize(
    ("old", "new", "phrase"),
    [
        ("0.52", "0.51", "row `b`, column `mean`: `0.51` instead of `0.52`"),
        ("<td>4</td>", "<td>5</td>", "row `b`, column `n`: `5` instead of `4`"),
        ("<th>b</th>", "<th>c</th>", "row `b`, column 1: `c` instead of `b`"),
        ("<th>mean</th>", "<th>sum</th>", "row 1, column 2: `sum` instead of `mean`"),
        ("<tr><th>a</th><td>0.5</td><td>3</td></tr>", "", "2 rows instead of 3"),
        ("<td>3</td>", "", "row 2: 2 cells instead of 3"),
        ('border="1"', 'border="2"', "markup `table border=2` instead of `table border=1`"),
        ("<td>3</td>", "<td><b>3</b></td>", "markup `b` instead of"),
        ("<table", "<p>text</p><table", "markup `p` instead of"),
        (FRAME, FRAME + "<table></table>", "2 tables instead of 1"),
    ],
)
def test_tables_differ_by_named_cells(old, new, phrase):
    """Row and column have the names that the table gives them."""
    assert phrase in difference(FRAME, FRAME.replace(old, new, 1))


def test_cells_that_differ_are_counted():
    """Only the first is shown."""
    found = difference(FRAME, FRAME.replace("0.5<", "0.6<").replace("0.52", "0.62"))
    assert found.endswith("(relative difference 1.7e-01), and 1 more cell")


def test_cells_and_attributes_follow_the_tolerance():
    """0.52 and 0.5201 are equal within a thousandth; 3 and 4 never."""
    near = FRAME.replace("0.52", "0.5201").replace('border="1"', 'border="1.0"')
    assert difference(FRAME, near) is not None
    assert difference(FRAME, near, Tolerance(1e-3)) is None
    assert difference(FRAME, FRAME.replace(">3<", ">4<"), Tolerance(0.9)) is not None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<p>a</p>", "<p>b</p>"),
        ("<p>a<b>x</b></p>", "<p><b>a</b>x</p>"),
        ("<td>a<b>x</b>", "<td><b>a</b>x"),
        ("<table><tr><td>a<b>x</b></table>", "<table><tr><td><b>a</b>x</table>"),
        ("<pre>a  b</pre>", "<pre>a b</pre>"),
        ("<style>a {}</style>", "<style>b {}</style>"),
        ("<svg><![CDATA[a]]></svg>", "<svg><![CDATA[b]]></svg>"),
        ('<a id="x"></a>', '<a id="y"></a>'),
        (f"<p>{ONE}</p>", f"<p>{OTHER}</p>"),
        ("<img src=a>", "<img src=b>"),
        ("a", ""),
        ("<table><tr><td>1", "<table><tr><td>2"),
    ],
)  # fmt: skip
def test_what_a_reader_may_see_is_never_equal_by_mistake(old, new):
    """Markup, verbatim text, identifiers that somebody wrote."""
    assert difference(old, new) is not None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<p>a  b\n</p>", "<p>a b </p>"),
        ("<b class='x' id='y'>a</b>", '<b id="y" class="x">a</b>'),
        ("<p>&lt;</p>", "<p>&#60;</p>"),
        ("<style>#T_0a1b2_row0 {}</style><table id='T_0a1b2'><td id='T_0a1b2_row0'>",
         "<style>#T_9f8e7_row0 {}</style><table id='T_9f8e7'><td id='T_9f8e7_row0'>"),
        (f'<div id="{ONE}"></div><script>f("{ONE}")</script>',
         f'<div id="{OTHER}"></div><script>f("{OTHER}")</script>'),
    ],
)  # fmt: skip
def test_what_a_reader_cannot_see_is_equal(old, new):
    """Blanks, quotes, the order of attributes, identifiers drawn at random."""
    assert difference(old, new) is None


def test_identifiers_that_are_used_otherwise_make_a_difference():
    """They are numbered by place: two that change places are not what they were."""
    first = '<a id="T_00000"></a><a id="T_11111"></a><i href="#T_00000"></i>'
    assert difference(first, first.replace("00000", "abcde")) is None
    assert difference(first, first.replace("#T_00000", "#T_11111")) is not None


def test_a_figure_that_matplotlib_draws_twice_is_one_figure():
    """Its SVG has new identifiers and a new date each time, unless `svg.hashsalt` is set."""
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    def drawn(values):
        figure = Figure()
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.plot(values, marker="o")
        axes.bar([1, 2], values[:2], hatch="/")
        axes.scatter(values, values)
        axes.imshow([[0, 1], [1, 0]])
        stream = io.StringIO()
        figure.savefig(stream, format="svg")
        return stream.getvalue()

    first, second = drawn([1, 2, 3]), drawn([1, 2, 3])
    assert first != second
    assert difference(first, second) is None
    assert difference(first, drawn([1, 2, 4])) is not None


@given(st.text(alphabet="<>/tdrhab= \"'!-&;1.", max_size=60))
def test_whatever_the_text_is_it_is_equal_to_itself(text):
    """Spoilt HTML is compared, too."""
    assert difference(text, text) is None
    assert difference(text, text + "x") is not None
