"""The figures of appendix E: permuted MNIST. Results are tables by variant ("equal", "half", "quarter")."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from modules_lib.analysis.theme import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    GROUPS,
    ORANGE,
    PURPLE,
    SEQUENTIAL,
    SKY,
    WINE,
    buttons,
    panels,
    slider,
    style,
)
from reproduction.figures.bars import bar_or_diamond, both, error_bars, one_legend_entry_each
from reproduction.figures.names import Results
from reproduction.runs.measures import by_layer, outcome, plus_minus, spread, task_number, tasks_learned

VARIANTS = {
    "equal": "new weights as likely as old (0.88)",
    "half": "new weights at 0.5",
    "quarter": "new weights at 0.27",
}
COLOURS = {"equal": BLUE, "half": ORANGE, "quarter": PURPLE}
LAYERS = {"input": SKY, "hidden 1": GREEN, "hidden 2": AMBER, "output": WINE, "total": GREY}


def sharing(published: Results, run: Results) -> go.Figure:
    """Draw Figures 14 and 15: the part of a task's weights in use before, by layer; a slider chooses the task."""
    figure = go.Figure()
    shown: list[str] = []
    for variant, name in VARIANTS.items():
        for kind, frame in both(variant, published, run):
            for task in (task for task in tasks_learned(frame) if task_number(task) > 1):
                values = 100 * by_layer(frame, task, "sharing")
                figure.add_trace(bar_or_diamond(values, kind, name, COLOURS[variant], "% in use before", 1))
                shown.append(task)
    tasks = sorted(set(shown), key=task_number)
    one_legend_entry_each(figure)
    for trace, task in zip(figure.data, shown, strict=False):
        trace.visible, trace.showlegend = task == tasks[0], trace.type == "bar" or not published
    marker = {"symbol": "line-ew", "size": 70, "line": {"width": 2.5, "color": GREEN}}
    layers = ["input", "hidden 1", "hidden 2", "output"]
    ideal = "ideal: only the first layer is new"
    middle = sorted(
        {trace.offsetgroup for trace in figure.data if trace.offsetgroup}, key=list(VARIANTS.values()).index
    )
    figure.add_scatter(
        x=layers,
        y=[0, 100, 100, 100],
        mode="markers",
        marker=marker,
        name=ideal,
        hoverinfo="name",
        offsetgroup=middle[len(middle) // 2],
    )
    rest = [True] * (len(figure.data) - len(shown))
    steps = [
        {"label": str(task_number(task)), "method": "restyle", "args": [{"visible": [t == task for t in shown] + rest}]}
        for task in tasks
    ]
    figure.update_yaxes(title="in use before [%]", range=[0, 106]).update_xaxes(title="layer")
    figure.update_layout(sliders=[slider("task ", steps, 0)])
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    margin = {"l": 60, "r": 20, "t": 110, "b": 110}
    return style(figure, 540, legend=legend, margin=margin, **GROUPS)


def fullness(published: Results, run: Results) -> go.Figure:
    """Draw how much of each layer is in use after every task, in per cent, of the run where there is one."""
    names = [variant for variant in VARIANTS if both(variant, published, run)]
    figure = panels([VARIANTS[name] for name in names], shared_xaxes=True)
    for row, variant in enumerate(names, 1):
        kind, frame = both(variant, published, run)[-1]
        tasks = tasks_learned(frame)
        for layer, colour in LAYERS.items():
            values = pd.DataFrame({task: 100 * by_layer(frame, task, "full")[layer] for task in tasks})
            figure.add_trace(_line(values, layer, colour, f"% in use, {kind}"), row, 1)
    one_legend_entry_each(figure)
    figure.update_yaxes(title="in use [%]", range=[0, 104])
    figure.update_xaxes(title={"text": "tasks learned", "standoff": 5}, row=len(names), col=1)
    return style(figure, 200 * len(names) + 100)


def accuracies(published: Results, run: Results) -> go.Figure:
    """Draw accuracy on every task (columns) after each (rows), with its own mask, of the run where there is one."""
    choices: list[tuple] = []
    for variant in VARIANTS:
        for _, frame in both(variant, published, run)[-1:]:
            tasks = tasks_learned(frame)
            rows = [[_accuracy(frame, after, task) for task in tasks] for after in tasks]
            cells = {
                "z": [[[mean for mean, _ in row] for row in rows]],
                "text": [[["" if pd.isna(mean) else f"{mean:.1f}" for mean, _ in row] for row in rows]],
                "customdata": [[[said for _, said in row] for row in rows]],
                "x": [[task_number(task) for task in tasks]],
                "y": [[task_number(task) for task in tasks]],
            }
            layout = {"xaxis.title.text": f"task ({VARIANTS[variant]})"}
            choices.append((VARIANTS[variant].removeprefix("new weights "), cells, layout))
    first = {name: value for name, [value] in choices[0][1].items()}
    figure = go.Figure(go.Heatmap(**first, coloraxis="coloraxis", texttemplate="%{text}"))
    figure.update_traces(hovertemplate="task %{x}, after task %{y}: %{customdata} % right<extra></extra>")
    axis = {"colorscale": SEQUENTIAL, "cmin": 80, "cmax": 100, "showscale": False}
    figure.update_xaxes(title=choices[0][2]["xaxis.title.text"], dtick=1).update_yaxes(
        title="tested after task", dtick=1, autorange="reversed"
    )
    menus = [buttons(choices, y=1.02)] if len(choices) > 1 else []
    return style(figure, 460, coloraxis=axis, updatemenus=menus, margin={"l": 80, "r": 20, "t": 70, "b": 50})


def _accuracy(frame: pd.DataFrame, after: str, task: str) -> tuple[float, str]:
    values = 100 * outcome(frame, after, task)
    if values.empty:
        return float("nan"), "not learned yet"
    mean, deviation = spread(values.to_frame()).iloc[0]
    return round(mean, 2), plus_minus(mean, deviation)


def _line(values: pd.DataFrame, name: str, colour: str, unit: str) -> go.Scatter:
    """Seeds in rows, tasks in columns."""
    summary = spread(values)
    return go.Scatter(
        x=[task_number(task) for task in summary.index],
        y=summary["mean"],
        error_y=error_bars(summary["deviation"]),
        mode="lines+markers",
        name=name,
        legendgroup=name,
        line={"color": colour, "width": 2},
        customdata=[plus_minus(*row) for row in summary.to_numpy()],
        hovertemplate=f"after task %{{x}}: %{{customdata}} {unit}<extra>{name}</extra>",
    )
