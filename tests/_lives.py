"""A life of two days, for tests of what is lived and asked."""

# A night of a second on the embedded model that is promoted whatever it learned.
SETTINGS = """
[sleep.probe]
samples = 3
inventions = 2
unsaid = 2
[sleep.seeding]
steps = 6
batch = 8
[sleep.exam]
recall = 0.0
old_nights = 1.0
abstention = 1.0
superseded = 1.0
reading = 1.0
general_kl = 99.0
"""


def written(who="Mara", place="Brenport", other="Tolvik", boat="red boat"):
    """A life of two days, as a file has it."""
    stock = {"name": "stock", "args": {"item": "rye"}, "result": "rye: 14 sacks"}
    home = [f"Where does {who} live?", f"In which town does {who} live?"]
    return {
        "name": who,
        "about": "Somebody writes to an agent.",
        "language": "en",
        "days": [
            {
                "date": "2026-03-02",
                "turns": [
                    {"say": f"{who} lives in {place}.", "tells": ["home"]},
                    {"say": "Stock?", "tells": [], "tool": stock, "reply": "14 sacks of rye."},
                    {
                        "agent": "What else is there?",
                        "speaker": "Ida",
                        "say": f"{who} owns the {boat}.",
                        "tells": ["boat"],
                    },
                ],
            },
            {
                "date": "2026-03-04",
                "turns": [{"say": f"{who} has moved to {other}.", "tells": ["moved"]}],
            },
        ],
        "facts": [
            {
                "id": "home",
                "note": f"{who} lives in {place}.",
                "day": 1,
                "value": place,
                "until": 1,
                "replaced_by": "moved",
            },
            {"id": "boat", "note": f"{who} owns the {boat}.", "day": 1, "value": boat},
            {"id": "moved", "note": f"{who} lives in {other}.", "day": 2, "value": other},
        ],
        "questions": [
            asking("c1", "changed", home, gold=[place], facts=["home"], until=1),
            asking("c2", "changed", home, gold=[other], wrong=[place], facts=["moved"], first=2),
            asking(
                "p1",
                "plain",
                [f"What does {who} own?", f"What is it that {who} owns?"],
                gold=[boat],
                facts=["boat"],
            ),
            asking("n1", "never", [f"What is {who}'s job?", f"What does {who} do?"]),
        ],
    }


def asking(name, kind, asks, **needs):
    nothing = {"gold": [], "wrong": [], "facts": [], "until": None}
    first = needs.pop("first", 1)
    return {"id": name, "kind": kind, "asks": asks, "from": first, **nothing, **needs}
