#!/usr/bin/env python3
"""What TensorBoard's own reader finds in event files, as JSON: of each run, scalars and texts by tag and step, settings,
and how it ended.

    read_event_files.py FOLDER
"""
import json
import sys

from tensorboard.backend.event_processing import plugin_event_multiplexer
from tensorboard.plugins.hparams import metadata
from tensorboard.util import tensor_util


def values(multiplexer, run, tag):
    return {event.step: tensor_util.make_ndarray(event.tensor_proto) for event in multiplexer.Tensors(run, tag)}


def describe(multiplexer, run):
    found = {"scalars": {}, "texts": {}, "settings": {}, "end": None}
    for tag in multiplexer.Runs()[run]["tensors"]:
        plugin = multiplexer.SummaryMetadata(run, tag).plugin_data
        if plugin.plugin_name == "scalars":
            found["scalars"][tag] = {step: float(value) for step, value in values(multiplexer, run, tag).items()}
        elif plugin.plugin_name == "text":
            found["texts"][tag] = {step: value.item().decode() for step, value in values(multiplexer, run, tag).items()}
        elif tag == metadata.SESSION_START_INFO_TAG:
            settings = metadata.parse_session_start_info_plugin_data(plugin.content).hparams
            found["settings"] = {name: getattr(value, value.WhichOneof("kind")) for name, value in settings.items()}
        elif tag == metadata.SESSION_END_INFO_TAG:
            found["end"] = metadata.parse_session_end_info_plugin_data(plugin.content).status
    return found


def main():
    multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance={"scalars": 0, "text": 0})
    multiplexer.AddRunsFromDirectory(sys.argv[1])
    multiplexer.Reload()
    print(json.dumps({run: describe(multiplexer, run) for run in multiplexer.Runs()}))


if __name__ == "__main__":
    main()
