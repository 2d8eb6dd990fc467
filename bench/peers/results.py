"""build/peers/results.jsonl: one JSON object a line, only ever appended to, so that a killed run goes on where it stopped."""

import json
import statistics


class Results:
    """Events: start (run, identity, machine), setup, round, failed, end."""

    def __init__(self, path):
        self.path, self.events = path, []
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self.drop_half_line()
            self.events = [json.loads(line) for line in path.read_text().splitlines() if line]

    def drop_half_line(self):
        content = self.path.read_bytes()
        whole = content[:content.rfind(b"\n") + 1]
        if whole != content:
            self.path.write_bytes(whole)

    def add(self, event, **fields):
        record = dict(event=event, **fields)
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        self.events.append(record)

    def unfinished(self, identity):
        """The last run, if it has not ended and was started with the same settings on the same machine and code."""
        starts = [e for e in self.events if e["event"] == "start"]
        if not starts or starts[-1]["identity"] != identity:
            return None
        run = starts[-1]["run"]
        return None if any(e["event"] == "end" and e["run"] == run for e in self.events) else run

    def find(self, event, run, case, entrant=None):
        return [e for e in self.events if e["event"] == event and e["run"] == run and e["case"] == case
                and entrant in (None, e["entrant"])]

    def rounds(self, run, case, entrant):
        return {e["round"]: e for e in self.find("round", run, case, entrant)}

    def latest(self):
        """Of each case the newest run that holds rounds of it: {case: run}; and the starts: {run: start}."""
        starts = {e["run"]: e for e in self.events if e["event"] == "start"}
        if not starts:
            return {}, {}
        machine = list(starts.values())[-1]["machine"]["processor"]
        cases = {e["case"]: e["run"] for e in self.events if e["event"] in ("round", "failed")
                 and starts[e["run"]]["machine"]["processor"] == machine}
        return cases, {run: start for run, start in starts.items() if run in cases.values()}


class Series:
    """The numbers of one metric over the rounds."""

    def __init__(self, values):
        self.values = sorted(values)
        self.median = statistics.median(values)
        self.low, self.high = self.values[0], self.values[-1]


def series(results, run, case, metric):
    """{entrant: Series} of those that have the metric, in the order in which they ran."""
    values = {}
    for event in results.find("round", run, case):
        if metric in event["metrics"]:
            values.setdefault(event["entrant"], []).append(event["metrics"][metric])
    return {entrant: Series(numbers) for entrant, numbers in values.items()}
