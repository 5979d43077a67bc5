"""When something is due: "tomorrow at nine", said in a call, as an ISO 8601 local date or time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from workers.patterns import ONES, TENS, number_words

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = tuple("january february march april may june july august september october november december".split())
ORDINALS = {number_words(n, ordinal=True): n for n in range(1, 32)}
NUMBERS = {number_words(n): n for n in range(60)} | {"a": 1, "an": 1}
_NUMBER = "|".join(sorted([*ONES[1:], *TENS[2:]], key=len, reverse=True))
_HOURS = "|".join(ONES[1:13])
_ORDINAL = "|".join(sorted(ORDINALS, key=len, reverse=True))

# Parts of the day become an hour only where the caller named no clock.
PARTS = {"morning": 9, "afternoon": 14, "evening": 18, "night": 20}

RELATIVE = re.compile(
    rf"\bin (?P<count>half an|an?|(?:{_NUMBER})(?: (?:{_NUMBER}))?) (?P<unit>minute|hour|day|week|month)s?\b"
)
PAST = re.compile(rf"\b(?P<how>half past|quarter past|quarter to) (?P<hour>{_HOURS})\b")
CLOCK = re.compile(
    rf"\bat (?P<hour>{_HOURS})\b(?: (?P<minute>oh five|ten|fifteen|(?:twenty|thirty|forty|fifty)(?: five)?)\b)?"
)
BARE_CLOCK = re.compile(rf"^(?P<hour>{_HOURS})\b(?: (?P<minute>(?:fifteen|thirty|forty five))\b)?")
MERIDIEM = re.compile(r"\b(?P<half>[ap]) m\b")
MONTH_DAY = re.compile(rf"\b(?P<month>{'|'.join(MONTHS)}) (?:the )?(?P<day>{_ORDINAL})\b")
DAY_MONTH = re.compile(rf"\bthe (?P<day>{_ORDINAL})(?: of (?P<month>{'|'.join(MONTHS)}))?\b")
WEEKDAY = re.compile(rf"\b(?P<next>next )?(?P<day>{'|'.join(WEEKDAYS)})\b")
PART = re.compile(r"\b(?P<part>morning|afternoon|evening|night)\b|\b(?P<tonight>tonight)\b")


@dataclass(frozen=True, slots=True)
class _Clock:
    hour: int
    minute: int
    certain: bool  # whether morning or afternoon was said (or the hour leaves no choice)


def resolve(said: str, started_at: datetime) -> str:
    """`2026-11-22`, `2026-11-22T09:00`, or '' when the words name no moment.

    Everything is in `started_at`'s own time zone. A weekday is the next one that comes ("next friday" on a
    Thursday is the one of the week after); an hour without a day is the next time the clock shows it.
    """
    words = " ".join(said.lower().split())
    if ahead := _relative(words, started_at):
        return ahead
    day, clock = _day(words, started_at.date()), _clock(words)
    if clock is None:
        return day.isoformat() if day else ""
    moment = time(_hour(clock, words), clock.minute)
    if day is None:
        return _next_time(moment, clock, started_at)
    return datetime.combine(day, moment).isoformat(timespec="minutes")


def _relative(words: str, now: datetime) -> str:
    if not (found := RELATIVE.search(words)):
        return ""
    unit = found["unit"]
    if found["count"] == "half an":
        return _minutes(now + timedelta(minutes=30)) if unit == "hour" else ""
    count = NUMBERS.get(found["count"])
    if count is None:
        return ""
    if unit in ("minute", "hour"):
        return _minutes(now + timedelta(**{f"{unit}s": count}))
    if unit == "month":
        return _months_later(now.date(), count).isoformat()
    return (now.date() + timedelta(days=count * (7 if unit == "week" else 1))).isoformat()


def _minutes(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="minutes")


def _months_later(day: date, count: int) -> date:
    years, month = divmod(day.month - 1 + count, 12)
    first = date(day.year + years, month + 1, 1)
    last = (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    return first.replace(day=min(day.day, last.day))


def _day(words: str, today: date) -> date | None:
    if "the day after tomorrow" in words:
        return today + timedelta(days=2)
    if "tomorrow" in words:
        return today + timedelta(days=1)
    if re.search(r"\b(today|tonight|this (morning|afternoon|evening))\b", words):
        return today
    if "next week" in words:
        return today + timedelta(days=7 - today.weekday())
    if "next month" in words:
        return _months_later(today.replace(day=1), 1)
    if found := MONTH_DAY.search(words) or DAY_MONTH.search(words):
        return _calendar_day(found["month"], ORDINALS[found["day"]], today)
    return _weekday(words, today)


def _weekday(words: str, today: date) -> date | None:
    if not (found := WEEKDAY.search(words)):
        return None
    wanted = WEEKDAYS.index(found["day"])
    if found["next"]:
        return today + timedelta(days=7 - today.weekday() + wanted)
    return today + timedelta(days=(wanted - today.weekday() - 1) % 7 + 1)


def _calendar_day(month: str | None, day: int, today: date) -> date | None:
    """The next such day from today on; none if the month never has it."""
    for months_ahead in range(49):  # a leap day comes back within four years
        first = _months_later(today.replace(day=1), months_ahead)
        if month and first.month != MONTHS.index(month) + 1:
            continue
        try:
            candidate = first.replace(day=day)
        except ValueError:
            continue
        if candidate >= today:
            return candidate
    return None


def _clock(words: str) -> _Clock | None:
    if re.search(r"\b(noon|midnight)\b", words):
        return _Clock(12 if "noon" in words.split() else 0, 0, certain=True)
    if found := PAST.search(words):
        hour = ONES.index(found["hour"])
        minutes = {"half past": 30, "quarter past": 15, "quarter to": -15}[found["how"]]
        return _Clock((hour - (minutes < 0)) or 12, minutes % 60, certain=False)
    if found := CLOCK.search(words) or BARE_CLOCK.search(words):
        minute = (found["minute"] or "zero").removeprefix("oh ")
        return _Clock(ONES.index(found["hour"]), NUMBERS[minute], certain=False)
    if found := PART.search(words):
        return _Clock(PARTS[found["part"] or "night"], 0, certain=True)
    return None


def _hour(clock: _Clock, words: str) -> int:
    """The hour of 24. Without a hint it is the one a person is awake and at work in: 7 to 18 o'clock."""
    if clock.certain:
        return clock.hour
    if half := MERIDIEM.search(words):
        return clock.hour % 12 + (12 if half["half"] == "p" else 0)
    if part := PART.search(words):
        return clock.hour % 12 + (0 if part["part"] == "morning" else 12)
    return clock.hour if clock.hour >= 7 else clock.hour + 12


def _next_time(moment: time, clock: _Clock, now: datetime) -> str:
    """ "at nine" said at ten is tomorrow; "in the morning" is the next morning."""
    today = datetime.combine(now.date(), moment)
    later = today if today > now.replace(tzinfo=None) else today + timedelta(days=1)
    return later.isoformat(timespec="minutes")
