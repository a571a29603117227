"""The figures on when a mask can be believed (section 2; Figures 6, 7 and 9): beta, capacity, time, probabilities.

The figures over betas have a slider each, which works without a kernel; in the book these sliders move together.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from modules_lib.analysis.theme import (
    AMBER,
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SEQUENTIAL,
    SKY,
    buttons,
    count,
    menu,
    panels,
    slider,
    style,
)
from reproduction.experiments import preset
from reproduction.figures import captions
from reproduction.figures.addmul import OUTCOMES, confusion
from reproduction.figures.bars import PUBLISHED, RUN, bar_or_diamond, error_bars, one_legend_entry_each
from reproduction.figures.names import Results
from reproduction.protocol.stage import BINS, stage_at
from reproduction.runs.measures import (
    TASKS,
    by_layer,
    factors,
    networks_by_capacity,
    outcome,
    plus_minus,
    probabilities,
    sharing_by_capacity,
    spread,
    task_accuracy,
)

SWEPT = {"small": "small network", "large": "large network"}
SHOWN = {
    "addmul-fnn": ("+/× FNN", BLUE),
    "addmul-lstm": ("+/× LSTM", ORANGE),
    "double-fnn": ("+/+ FNN", GREEN),
    "double-lstm": ("+/+ LSTM, together", PURPLE),
    "double-lstm-apart": ("+/+ LSTM, one at a time", SKY),
    "scan": ("SCAN", AMBER),
    "cifar10": ("CIFAR-10", GREY),
}


def sensitivity(published: Results, run: Results, beta: float, run_beta: float | None = None) -> go.Figure:
    """Draw Figure 7: accuracy and kept weights of the full-task mask, and sharing of addition, against beta, by size.

    Args:
        published, run: results of the sweeps by size ("small", "large").
        beta: the middle of the published sweep, the paper's choice.
        run_beta: of the run's sweep, if it is another.
    """
    figure = panels(list(SWEPT.values()), vertical_spacing=0.12, shared_xaxes=True)
    sides = [(PUBLISHED, published, beta), (RUN, run, beta if run_beta is None else run_beta)]
    for row, size in enumerate(SWEPT, 1):
        for kind, results, middle in sides:
            if size in results and not results[size].empty:
                for name, colour, values in _against_beta(results[size], middle):
                    figure.add_trace(_curve(values, kind, name, colour), row, 1)
    frame, beta = next((frame, middle) for _, results, middle in sides for frame in results.values())
    betas = [beta * factor for factor in factors(frame)]
    line = {"color": GREY, "width": 2, "dash": "dot"}
    for row in (1, 2):
        place = {"x": [beta, beta], "y": [0, 104]}
        figure.add_scatter(**place, mode="lines", line=line, name="beta", hoverinfo="skip", row=row, col=1)
    lines = [i for i, trace in enumerate(figure.data) if trace.name == "beta"]
    steps = [(one, {"x": [[one, one]] * 2}, lines) for one in betas]
    figure.update_xaxes(type="log", exponentformat="power", dtick=1)
    figure.update_xaxes(title={"text": "beta = batch × alpha", "standoff": 5}, row=2, col=1)
    figure.update_yaxes(title="proportion [%]", range=[0, 104])
    return _over_betas(one_legend_entry_each(figure), steps, 620, betas.index(beta))


def _against_beta(frame: pd.DataFrame, middle: float) -> list[tuple[str, str, pd.DataFrame]]:
    """The curves over beta: (name, colour, per cent with seeds in rows and betas in columns)."""
    sizes = by_layer(frame, "unmasked", "kept")["total"]
    columns = {
        "accuracy, full-task mask": (GREEN, lambda f: task_accuracy(frame, stage_at("full", f))),
        "sharing of addition": (BLUE, lambda f: by_layer(frame, stage_at("add", f), "sharing")["total"]),
        "kept, full-task mask": (GREY, lambda f: by_layer(frame, stage_at("full", f), "kept")["total"] / sizes),
    }
    return [
        (name, colour, pd.DataFrame({middle * f: 100 * values(f) for f in factors(frame)}))
        for name, (colour, values) in columns.items()
    ]


def _curve(values: pd.DataFrame, kind: str, name: str, colour: str) -> go.Scatter:
    """Published means as a line with error bars, the run's as diamonds.

    Args:
        values: seeds in rows, places on the x axis in columns.
    """
    summary, source = spread(values), f"{kind}, {count(len(values), 'seed')}"
    published = kind == PUBLISHED
    outline = {"color": "white", "width": 1.5}
    marker = {"color": colour} | ({"size": 6} if published else {"symbol": "diamond", "size": 9, "line": outline})
    return go.Scatter(
        x=list(summary.index),
        y=summary["mean"],
        error_y=error_bars(summary["deviation"]),
        mode="lines+markers" if published else "markers",
        line={"color": colour, "width": 2},
        marker=marker,
        name=name,
        legendgroup=name,
        customdata=[plus_minus(mean, deviation) for mean, deviation in summary.to_numpy()],
        hovertemplate=f"%{{x:.2~e}}: %{{customdata}} [%]<extra>{name}, {source}</extra>",
        meta={"source": source},
        cliponaxis=False,
    )


def _over_betas(figure: go.Figure, steps: list[tuple[float, dict, list[int]]], height: int, active: int) -> go.Figure:
    """Add the book's look and a slider; a step is a beta, the changes at it, and the traces that change."""
    moves = [{"label": f"{beta:.1e}", "method": "restyle", "args": [changes, at]} for beta, changes, at in steps]
    legend = {"orientation": "h", "x": 0, "y": 1 + 40 / height, "yanchor": "bottom"}
    style(figure, height, legend=legend, sliders=[slider("beta = ", moves, active)], margin={"t": 80, "l": 60, "r": 20})
    return figure.update_layout(meta=(figure.layout.meta or {}) | {"linked": "beta"})


def layers_at(published: Results, metric: str, beta: float) -> go.Figure:
    """Draw weights "kept" by each stage, or "sharing" of each operation, in per cent by layer, at the slider's beta."""
    stages = {"full": "both operations", **TASKS} if metric == "kept" else TASKS
    figure = panels(list(SWEPT.values()), vertical_spacing=0.2)
    over = factors(published["large"])
    bars = [(row, size, stage) for row, size in enumerate(SWEPT, 1) for stage in stages]

    def bar(size: str, stage: str, factor: float) -> go.Bar:
        frame = published[size]
        values = by_layer(frame, stage_at(stage, factor), metric)
        if metric == "kept":
            values = values / by_layer(frame, "unmasked", "kept")
        values = 100 * values.drop(columns="total")
        return bar_or_diamond(values, PUBLISHED, stages[stage], COLOURS[stage], f"{metric} [%]", 1)

    for row, size, stage in bars:
        figure.add_trace(bar(size, stage, 1.0), row, 1)
    steps = []
    for factor in over:
        drawn = [bar(size, stage, factor) for _, size, stage in bars]
        changes = {
            "y": [[round(y, 3) for y in one.y] for one in drawn],
            "error_y.array": [[round(e, 3) for e in one.error_y.array] for one in drawn],
            "customdata": [list(one.customdata) for one in drawn],
        }
        steps.append((beta * factor, changes, list(range(len(bars)))))
    figure.update_yaxes(title=f"{'shared' if metric == 'sharing' else metric} [%]", range=[0, 104])
    figure.update_xaxes(title={"text": "layer", "standoff": 5}, row=2, col=1)
    figure.update_layout(barmode="group", bargap=0.3)
    return _over_betas(one_legend_entry_each(figure), steps, 560, over.index(1.0))


def performed_at(published: Results, beta: float, size: str = "large") -> go.Figure:
    """Draw Figure 2 at the slider's beta: the answers (columns) of each mask's network to each operation (rows)."""
    stages = {"full": "mask: both", "add": "mask: +", "mul": "mask: ×"}
    figure = panels(list(stages.values()), columns=3, horizontal_spacing=0.03, shared_yaxes=True)
    frame, over = published[size], factors(published[size])
    cells_at = {factor: [confusion(frame, stage_at(stage, factor)) for stage in stages] for factor in over}
    for column, (means, texts) in enumerate(cells_at[1.0], 1):
        cells = {"z": means, "text": texts, "x": list(OUTCOMES.values()), "y": ["+", "×"]}
        hover = "asked %{y}, gives %{x}: %{text}<extra></extra>"
        figure.add_heatmap(
            **cells, texttemplate="%{text}", coloraxis="coloraxis", hovertemplate=hover, row=1, col=column
        )
    steps = [
        (beta * factor, {"z": [means for means, _ in cells], "text": [texts for _, texts in cells]}, [0, 1, 2])
        for factor, cells in cells_at.items()
    ]
    figure.update_yaxes(autorange="reversed")
    figure.update_yaxes(title="asked", col=1)
    figure.update_xaxes(title={"text": "the answer is", "standoff": 5})
    scale = {"colorscale": SEQUENTIAL, "cmin": 0, "cmax": 100, "showscale": False}
    return _over_betas(figure.update_layout(coloraxis=scale), steps, 330, over.index(1.0))


def capacity(results: dict[str, dict[str, pd.DataFrame]], scales: dict[str, str]) -> go.Figure:
    """Draw Figure 9: total sharing of addition by network size, and how well each network has learned the task.

    Args:
        results: kind ("published", "this run", "paper scale") -> results by experiment.
        scales: kind -> the scale of these results.
    """
    figure = go.Figure()
    looks = {PUBLISHED: ("circle", "solid"), RUN: ("diamond", "solid"), "paper scale": ("square", "dot")}
    for kind, frames in results.items():
        names, (symbol, dash) = networks_by_capacity(frames), looks[kind]
        hidden = [preset(name, scales[kind]).fields()["hidden"] for name in names.values()]
        # size by size, since one network may have more seeds than another
        summary = pd.concat([spread(100 * share.to_frame()) for share in sharing_by_capacity(frames).values()])
        learned = [100 * outcome(frames[name], "unmasked", "mul").mean() for name in names.values()]
        figure.add_scatter(
            x=["-".join(map(str, sizes)) for sizes in hidden],
            y=summary["mean"],
            error_y=error_bars(summary["deviation"]),
            mode="markers" if kind == RUN else "lines+markers",
            marker={"symbol": symbol, "size": 10, "color": COLOURS["add"], "line": {"color": "white", "width": 1.5}},
            line={"color": COLOURS["add"], "dash": dash},
            name=f"{kind}, {captions.seeds({name: frames[name] for name in names.values()})}",
            customdata=[
                [plus_minus(mean, deviation), f"{right:.1f}"]
                for (mean, deviation), right in zip(summary.to_numpy(), learned, strict=True)
            ],
            meta={"customdata": ["shared [%]", "multiplication right without masks [%]"]},
            hovertemplate="<b>%{x}</b><br>shared: %{customdata[0]} [%]<br>"
            "multiplication right without masks: %{customdata[1]} [%]<extra></extra>",
        )
    figure.update_xaxes(title={"text": "hidden layers", "standoff": 5}, type="category")
    figure.update_yaxes(title="sharing of addition, total [%]", range=[0, 104])
    return style(figure, 430, legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"})


def histogram(results: Results) -> go.Figure:
    """Draw Figure 6: the distribution of the full task's mask probabilities after training, 500 bins, by experiment.

    The linear view leaves out the first bin, where far more weights are than everywhere else, and is the density of the
    others; the paper leaves out the lower tenth of that bin.
    """
    figure = go.Figure()
    shown: dict[str, list[list[float | None]]] = {"log": [], "linear": []}
    for name, (label, colour) in SHOWN.items():
        if name not in results or results[name].empty:
            continue
        counts = probabilities(results[name], "full")
        whole, rest = _density(counts), _density(counts.iloc[:, 1:])
        shown["log"].append([round(value, 5) or None for value in whole])
        shown["linear"].append([None, *(round(value, 5) for value in rest)])
        figure.add_scatter(
            x=[(bin + 0.5) / BINS for bin in range(BINS)],
            y=shown["log"][-1],
            mode="lines+markers",
            line={"color": colour, "width": 1.5, "shape": "hvh"},
            marker={"size": 2},
            name=label,
            hovertemplate="p = %{x:.3f}: density %{y:.3~g}<extra>" + label + "</extra>",
        )
    views: list[tuple] = [
        ("log", {"y": shown["log"]}, {"yaxis.type": "log", "yaxis.autorange": True}),
        ("linear", {"y": shown["linear"]}, {"yaxis.type": "linear", "yaxis.autorange": True}),
    ]
    figure.update_xaxes(title={"text": "mask probability", "standoff": 5}, range=[-0.01, 1.01])
    figure.update_yaxes(title="density of weights", type="log", exponentformat="power")
    return style(figure, 430, updatemenus=[buttons(views, y=1.02)])


def _density(counts: pd.DataFrame) -> pd.Series:
    """Numbers of weights, seeds in rows and bins in columns -> the mean density."""
    return (counts.div(counts.sum(axis=1), axis=0) * BINS).mean()


def shrinking(results: Results, names: dict[str, str]) -> go.Figure:
    """Draw the proportion of weights that the masks keep while they are trained, on a logarithmic axis.

    Args:
        results: by experiment; buttons choose which is shown.
        names: the stages to show -> what to call them.
    """
    figure = go.Figure()
    owners = []
    for experiment, frame in results.items():
        chosen = frame[frame["metric"] == "curve kept"]
        for stage in [stage for stage in chosen["stage"].unique() if stage in names]:
            curves = chosen[chosen["stage"] == stage].pivot(index="seed", columns="step", values="value")
            curve = _curve(100 * curves, PUBLISHED, names[stage], COLOURS[stage])
            curve.meta |= {"experiment": SHOWN[experiment][0]}
            curve.update(visible=experiment == next(iter(results)), hovertemplate="step %{x}: %{customdata} %")
            figure.add_trace(curve)
            owners.append(experiment)
    choices: list[tuple] = [
        (SHOWN[experiment][0], {"visible": [owner == experiment for owner in owners]}, {}) for experiment in results
    ]
    figure.update_xaxes(title={"text": "steps of mask training", "standoff": 5}, rangemode="tozero")
    figure.update_yaxes(title="kept [%]", type="log", range=[0, 2.05], tickvals=[1, 2, 5, 10, 20, 50, 100])
    return style(figure, 430, updatemenus=[menu(choices, x=1, xanchor="right")])
