"""The published cell list of wingert2026."""

from __future__ import annotations

from datasets import List, Value

from builders.shards.cells import Listing

TEXT, NUMBER, FLAG, INTEGER = Value("string"), Value("float64"), Value("bool"), Value("int32")

#: `cell_list.csv`, all 30 published columns: depth in um below the layer 3/4 border, sw (spike
#: width) in ms, mwf (mean spike waveform) of 100 points. siteid_2 is SLJ032a for probe B too, so
#: siteid is used as the site.
PUBLISHED = {
    "cellid": TEXT,
    **dict.fromkeys(("CNN32-bsg", "LN32", "sspredxc"), NUMBER),
    "goodpred": FLAG,
    **dict.fromkeys(("improve", "CNN32-bsg_ceil", "LN32_ceil", "sspredxc_ceil"), NUMBER),
    "goodpred_ceil": FLAG,
    "siteid": TEXT,
    **dict.fromkeys(("0.8", "0.9", "0.95", "0.99"), NUMBER),
    **dict.fromkeys(("sspredxc0", "spont_mean", "evoked_mean"), NUMBER),
    "siteid_2": TEXT,
    "probechannel": INTEGER,
    "layer": TEXT,
    "depth": NUMBER,
    "area": TEXT,
    **dict.fromkeys(("iso", "sw"), NUMBER),
    "mwf": List(Value("float32")),
    **dict.fromkeys(("narrow", "superficial"), FLAG),
    "sorted_class": INTEGER,
    "celltype": TEXT,
}
LIST = Listing(
    "cell_list.csv",
    cell_id="cellid",
    site="siteid",
    columns=PUBLISHED,
    of_records=("layer", "depth", "narrow", "celltype", "sw", "goodpred"),
)
