"""A rival as a child process: one JSON command a line in, one JSON reply a line out. `ours.cpp` speaks the same protocol.

    {"command": "setup", "setup": {"task": "train", "entrant": "linformer", …}}  ->  {"parameters": …, "matched": …, "tokens": …}
    {"command": "round", "work": {…}}                                            ->  {"metrics": {"tokens_per_second": …}, "peak_bytes": …}
    anything that fails                                                          ->  {"error": "…"}
"""

import json
import os
import pathlib
import resource
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))


def make_task(setup):
    if setup["task"] == "train":
        import training
        return training.Training(setup)
    if setup["task"] == "generate":
        import generation
        return generation.KINDS[setup["entrant"]](setup)
    if setup["task"] == "tokenize":
        import tokenizing
        return tokenizing.KINDS[setup["entrant"]](setup)
    import probe
    return probe.Probe(setup)


def serve(commands, replies):
    task = None
    for line in commands:
        command = json.loads(line)
        try:
            if command["command"] == "setup":
                task = make_task(command["setup"])
                reply = task.describe()
            else:
                metrics = task.round(command["work"])
                reply = {"metrics": metrics, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
        except Exception as error:  # reported as the entrant's result; the run goes on
            reply = {"error": f"{type(error).__name__}: {error}"[:500]}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    # Libraries print to standard output as they like: replies get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, answers)
