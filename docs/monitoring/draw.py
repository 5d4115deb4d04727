"""Draws a dashboard of Grafana's from what a Prometheus answers to its questions, panel for panel.

draw.py DASHBOARD.json PICTURE.png SECONDS: of the last SECONDS, asked of 127.0.0.1:9090. It is no Grafana: of the panels it
knows those that grafana.json has (stat, table, timeseries, state-timeline), their places, questions, legends and units.
"""

import datetime
import json
import re
import sys
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.dates
import matplotlib.pyplot as plot

STEP = 1
COLORS = {"red": "#e02f44", "green": "#56a64b"}


def ask(path, **parameters):
    url = f"http://127.0.0.1:9090/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)["data"]["result"]


def expression(target):
    text = target["expr"].replace("$__rate_interval", "10s")
    return text.replace("$instance", "127.0.0.1:8000")


def legend(target, labels):
    text = target.get("legendFormat", "")
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), text)


def series(panel, start, end):
    for target in panel["targets"]:
        for found in ask("query_range", query=expression(target), start=start, end=end, step=STEP):
            points = [(datetime.datetime.fromtimestamp(at), float(value)) for at, value in found["values"]]
            yield legend(target, found["metric"]), points


def stat(axes, panel, end):
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    found = ask("query", query=expression(panel["targets"][0]), time=end)
    value = f"{float(found[0]['value'][1]):.0f}" if found else "no data"
    color = COLORS["green"]
    for mapping in defaults.get("mappings", []):
        if value in mapping["options"]:
            color = COLORS[mapping["options"][value]["color"]]
            value = mapping["options"][value]["text"]
    unit = " s" if defaults.get("unit") == "s" else ""
    axes.axis("off")
    axes.text(0.5, 0.4, value + unit, ha="center", va="center", fontsize=17, color=color, weight="bold")


def table(axes, panel, end):
    axes.axis("off")
    found = ask("query", query=expression(panel["targets"][0]), time=end)
    hidden = ("__name__", "instance", "job")
    rows = [{name: value for name, value in one["metric"].items() if name not in hidden} for one in found]
    if rows:
        names = sorted(rows[0])
        cells = [[row[name] for name in names] for row in rows]
        drawn = axes.table(cells, colLabels=names, loc="center", cellLoc="left")
        drawn.auto_set_font_size(False)
        drawn.set_fontsize(8)


def timeseries(axes, panel, start, end):
    for name, points in series(panel, start, end):
        axes.plot(*zip(*points), label=name, linewidth=1)
    unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
    names = {"Bps": "bytes/s", "pps": "packets/s"}
    axes.set_ylabel(names.get(unit, unit), fontsize=7)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=6, loc="upper left", ncols=2, framealpha=0.6)


def state_timeline(axes, panel, start, end):
    names = []
    for row, (name, points) in enumerate(series(panel, start, end)):
        names.append(name)
        for at, value in points:
            if value == 1:
                second = datetime.timedelta(seconds=STEP)
                color = COLORS["green"] if name == "connected" else COLORS["red"]
                axes.barh(row, second, left=at, height=0.7, color=color)
    axes.set_yticks(range(len(names)), names, fontsize=7)


def main(dashboard, picture, seconds):
    with open(dashboard, encoding="utf-8") as file:
        board = json.load(file)
    end = time.time()
    start = end - float(seconds)
    panels = board["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plot.figure(figsize=(10, rows * 0.3), layout="constrained")
    grid = figure.add_gridspec(rows, 24)
    for panel in panels:
        place = panel["gridPos"]
        cells = grid[place["y"] : place["y"] + place["h"], place["x"] : place["x"] + place["w"]]
        axes = figure.add_subplot(cells)
        axes.set_title(panel["title"], fontsize=9, loc="left")
        axes.tick_params(labelsize=7)
        kind = panel["type"]
        if kind == "stat":
            stat(axes, panel, end)
        elif kind == "table":
            table(axes, panel, end)
        else:
            {"timeseries": timeseries, "state-timeline": state_timeline}[kind](axes, panel, start, end)
            axes.set_xlim(datetime.datetime.fromtimestamp(start), datetime.datetime.fromtimestamp(end))
            axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M"))
    figure.savefig(picture, dpi=90)


if __name__ == "__main__":
    main(*sys.argv[1:])
