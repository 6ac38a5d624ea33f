"""Quiet hours by a clock that is not ours: Python's zoneinfo, stepping through every minute.

Prints one JSON line for each zone, {"zone", "changes": [[instant, offset after], ...]} over the years asked for, and
behind it one for each case, {"zone", "at", "start", "end", "next_allowed"}: instants around every change of that
zone's clock, and hours that begin and end on, before, behind and inside it. The first line names the database.

The answer is found by looking at the wall clock minute by minute, and second by second near a change, and then by
bisection between the last quiet look and the first that is not. Nothing here computes with offsets.

    python3 -m venv .venv
    .venv/bin/pip install tzdata==2026.6
    .venv/bin/python tests/foreign/hours.py --from 2020 --until 2038

Without the package `tzdata` the system's database is read. The tests that use this say so: `tests/proof hours`.
"""

import argparse
import json
import random
import sys
import zoneinfo
from bisect import bisect_left
from datetime import datetime, timezone

UTC = timezone.utc
DAY = 86_400
LOOK_AHEAD = 2 * DAY


def database():
    """The version, and from now on the one place that zones are read from."""
    try:
        import tzdata

        zoneinfo.reset_tzpath([])
        return tzdata.IANA_VERSION
    except ImportError:
        for folder in zoneinfo.TZPATH:
            try:
                with open(folder + "/tzdata.zi", encoding="ascii") as file:
                    return file.readline().removeprefix("# version").strip()
            except OSError:
                continue
        return "unknown"


def instant(second):
    return datetime.fromtimestamp(second, UTC)


def wall(zone, second):
    """Seconds since midnight on the wall."""
    local = instant(second).astimezone(zone)
    return local.hour * 3600 + local.minute * 60 + local.second


def offset(zone, second):
    return int(instant(second).astimezone(zone).utcoffset().total_seconds())


def changes(zone, first, last):
    """Every instant at which the offset changes: looked for by half days, found by bisection."""
    found, step = [], DAY // 2
    before = offset(zone, first)
    for second in range(first, last, step):
        after = offset(zone, second + step)
        if after != before:
            low, high = second, second + step
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(zone, middle) == before else (low, middle)
            found.append((high, after))
            before = after
    return found


def quiet(second_of_day, start, end):
    if start <= end:
        return start <= second_of_day < end
    return second_of_day >= start or second_of_day < end


class Looks:
    """The wall clock, looked at around one instant."""

    def __init__(self, zone, around, of_changes):
        first, last = around - 2 * DAY, around + 2 * DAY + LOOK_AHEAD
        seconds = set(range(first, last, 60))
        for change, _ in of_changes:
            if first < change < last:
                seconds.update(range(change - 90, change + 91))
        self.zone = zone
        self.seconds = sorted(seconds)
        self.walls = [wall(zone, second) for second in self.seconds]

    def next_allowed(self, at, start, end):
        if not quiet(wall(self.zone, at), start, end):
            return at
        place = bisect_left(self.seconds, at)
        last_quiet = at
        while quiet(self.walls[place], start, end):
            last_quiet = self.seconds[place]
            place += 1
        low, high = last_quiet, self.seconds[place]
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if quiet(wall(self.zone, middle), start, end) else (low, middle)
        return high


def hours(dice, before, after):
    """Hours that have to do with a change from `before` to `after` on the wall, and a few that do not."""
    low, high = min(before, after), max(before, after)
    yield from [(21 * 3600, 8 * 3600), (20 * 3600, 9 * 3600), (8 * 3600, 8 * 3600)]
    edges = [low, high, (low + high) // 2, low - 1, high + 1, low - 1800, high + 1800, high - 30, low + 30]
    pairs = [(start, end) for start in edges for end in edges if start != end]
    yield from dice.sample(pairs, 10)
    for _ in range(3):
        yield dice.randrange(0, DAY), dice.randrange(0, DAY)


def cases(dice, zone, change, of_changes, each):
    looks = Looks(zone, change, of_changes)
    before, after = wall(zone, change - 1) + 1, wall(zone, change)
    moments = [change - 1, change, change + 1, change - 3600, change + 3600, change - 5 * 3600, change + 1800]
    moments += [change + dice.randrange(-DAY, DAY) for _ in range(3)]
    for start, end in hours(dice, before, after):
        start, end = start % DAY, end % DAY
        # Minutes are stepped over: what is open is open for two of them at least.
        if start != end and (start - end) % DAY < 120:
            continue
        for at in dice.sample(moments, each):
            yield at, start, end, looks.next_allowed(at, start, end)


def clock(second_of_day):
    text = f"{second_of_day // 3600:02}:{second_of_day // 60 % 60:02}:{second_of_day % 60:02}"
    return text.removesuffix(":00") if second_of_day % 60 == 0 else text


def stamp(second, fraction=""):
    return instant(second).strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def of_a_clock(zone, name, first, last, each):
    """The changes of one clock and its cases, without the zone's name."""
    margin = 5 * DAY
    wide = changes(zone, first - margin, last + margin)
    known = (offset(zone, first - margin), tuple(wide))
    if known not in CLOCKS:
        dice = random.Random(name)
        of_zone = [(change, after) for change, after in wide if first <= change < last]
        # A clock that never changes is asked on ordinary days.
        around = [change for change, _ in of_zone] or [first + dice.randrange(0, last - first) for _ in range(4)]
        asked = [case for change in around for case in cases(dice, zone, change, wide, each)]
        CLOCKS[known] = of_zone, asked
    return CLOCKS[known]


# Zones whose clocks have shown the same at every instant of these years are looked at once, and all asked about.
CLOCKS = {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--from", dest="first", type=int, default=2020)
    parser.add_argument("--until", dest="last", type=int, default=2038)
    parser.add_argument("--each", type=int, default=4, help="instants asked about for each pair of hours")
    parser.add_argument("zones", nargs="*", help="all of them where none is named")
    asked = parser.parse_args()
    say = lambda line: print(json.dumps(line))
    say({"database": database()})
    first, last = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (asked.first, asked.last))
    # `Factory` stands for a clock that nobody has set.
    for name in asked.zones or sorted(zoneinfo.available_timezones() - {"Factory"}):
        of_zone, asked_of_it = of_a_clock(zoneinfo.ZoneInfo(name), name, first, last, asked.each)
        say({"zone": name, "changes": of_zone})
        for number, (at, start, end, answer) in enumerate(asked_of_it):
            # Now and then a fraction of a second: it is kept where nothing is waited for, else gone.
            fraction = ".25" if number % 7 == 0 else ""
            answer = stamp(at, fraction) if answer == at else stamp(answer)
            line = {"zone": name, "at": stamp(at, fraction), "start": clock(start), "end": clock(end)}
            say(line | {"next_allowed": answer})


try:
    main()
except BrokenPipeError:
    sys.exit(1)
