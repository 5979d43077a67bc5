"""What the carrier is asked, how often, and what is said of it: a whole process of conversation on virtual time."""

from __future__ import annotations

import asyncio

from schema.call import CallEnded, CallTransferred, RequestMade
from tests.support.runtimes import CallAtDoor, World, fields, on_virtual_time
from workers.carrierwork import CarrierError

CALL = "CA1"
NUMBERS = ("+15550100003", "+15550100004")


class Switchboard:
    """Takes a request when it is let, or refuses it with the next error."""

    def __init__(self, *errors: BaseException | None) -> None:
        self.errors = list(errors)
        self.asked: list[str] = []
        self.taken: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def transfer(self, call_id: str, number: str) -> None:
        self.asked.append(number)
        await self.open.wait()
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        self.taken.append(number)

    async def hang_up(self, call_id: str) -> None:
        await self.transfer(call_id, "")


def away() -> CarrierError:
    return CarrierError("carrier_unreachable", "no answer", retryable=True)


async def greeted(world: World, board: Switchboard) -> CallAtDoor:
    world.transfer, world.hang_up = board.transfer, board.hang_up
    world.hire("a")
    call = await CallAtDoor(world, CALL).start()
    await world.until_said(CALL, "reply.finished")
    return call


async def wish(world: World, number: str = NUMBERS[0], kind: str = "transfer") -> str:
    said = RequestMade(id=world.new_id(), call_id=CALL, kind=kind, to=number)  # type: ignore[arg-type]
    await world.say(said, f"wish-{said.id}")
    return said.id


def test_a_transfer_is_said_when_the_carrier_has_taken_it_and_not_before() -> None:
    async def story() -> None:
        world, board = World(), Switchboard()
        await greeted(world, board)
        board.open.clear()
        request = await wish(world)
        await asyncio.sleep(5)
        assert board.asked == [NUMBERS[0]]
        assert fields(await world.events(CALL), "call.transferred", "to") == []
        board.open.set()
        await world.until_said(CALL, "call.ended")
        events = await world.events(CALL)
        assert fields(events, "call.transferred", "cause") == [request]
        assert fields(events, "call.ended", "reason") == ["transferred"]
        assert board.asked == [NUMBERS[0]]
        await world.close()

    on_virtual_time(story())


def test_a_carrier_that_never_takes_it_is_asked_three_times_and_the_call_goes_on() -> None:
    async def story() -> None:
        world, board = World(), Switchboard(away(), away(), away())
        call = await greeted(world, board)
        request = await wish(world)
        await world.until_said(CALL, "work.failed")
        events = await world.events(CALL)
        assert board.asked == [NUMBERS[0]] * 3
        assert fields(events, "work.failed", "stage") == ["transfer"]
        assert fields(events, "work.failed", "cause") == [request]
        assert fields(events, "call.transferred", "to") == []
        await call.says("bye bye")
        await world.until_said(CALL, "call.ended")
        assert fields(await world.events(CALL), "call.ended", "reason") == ["agent_goodbye"]
        await world.close()

    on_virtual_time(story())


def test_a_request_that_was_cancelled_by_nobody_is_asked_again() -> None:
    async def story() -> None:
        world, board = World(), Switchboard(asyncio.CancelledError())
        await greeted(world, board)
        await wish(world, kind="hang_up")
        await world.until_said(CALL, "call.sealed")
        assert board.taken == [""] and len(board.asked) == 2
        await world.close()

    on_virtual_time(story())


def test_a_wish_after_one_that_failed_is_asked_of_the_carrier() -> None:
    async def story() -> None:
        world, board = World(), Switchboard(CarrierError("carrier_refused", "the carrier answered 400"))
        await greeted(world, board)
        await wish(world)
        await world.until_said(CALL, "work.failed")
        await wish(world, NUMBERS[1])
        await world.until_said(CALL, "call.transferred")
        assert board.asked == list(NUMBERS)
        await world.close()

    on_virtual_time(story())


def test_a_wish_that_failed_does_not_take_back_the_one_after_it() -> None:
    async def story() -> None:
        world, board = World(), Switchboard(CarrierError("carrier_refused", "the carrier answered 400"))
        await greeted(world, board)
        board.open.clear()
        await wish(world)
        second = await wish(world, NUMBERS[1])
        await asyncio.sleep(1)
        board.open.set()
        await world.until_said(CALL, "call.transferred")
        events = await world.events(CALL)
        assert fields(events, "call.transferred", "cause") == [second]
        assert fields(events, "work.failed", "stage") == []
        await world.close()

    on_virtual_time(story())


def test_a_call_the_carrier_no_longer_knows_is_over() -> None:
    async def story() -> None:
        world, board = World(), Switchboard(*[CarrierError("call_over", "not in progress", retryable=True)] * 3)
        await greeted(world, board)
        await wish(world)
        await world.until_said(CALL, "call.ended")
        assert fields(await world.events(CALL), "call.ended", "reason") == ["caller_hung_up"]
        await world.until_said(CALL, "call.sealed")
        assert board.asked == [NUMBERS[0]] * 3, "nobody hangs up on a call that is over"
        await world.close()

    on_virtual_time(story())


def test_a_call_is_not_sealed_before_the_carrier_took_its_end() -> None:
    async def story() -> None:
        world, board = World(), Switchboard(away())
        call = await greeted(world, board)
        board.open.clear()
        await wish(world, kind="hang_up")
        await world.until_said(CALL, "call.ended")
        await call.hang_up("stop")
        await asyncio.sleep(5)
        assert fields(await world.events(CALL), "call.sealed", "complete") == []
        board.open.set()
        await world.until_said(CALL, "call.sealed")
        assert board.taken == [""] and len(board.asked) == 2
        await world.close()

    on_virtual_time(story())


def test_a_hang_up_that_the_carrier_never_takes_is_on_the_log_and_the_call_is_sealed() -> None:
    async def story() -> None:
        world, board = World(), Switchboard(away(), away(), away())
        await greeted(world, board)
        await wish(world, kind="hang_up")
        await world.until_said(CALL, "call.sealed")
        events = await world.events(CALL)
        assert fields(events, "work.failed", "stage") == ["hang_up"]
        assert len(board.asked) == 3
        await world.close()

    on_virtual_time(story())


def test_who_takes_the_call_over_asks_again() -> None:
    async def story() -> None:
        world, board = World(), Switchboard()
        await greeted(world, board)
        board.open.clear()
        await wish(world)
        await asyncio.sleep(0.5)
        await world.fire("a")
        world.hire("b")
        await asyncio.sleep(1)
        assert board.asked == [NUMBERS[0]] * 2
        board.open.set()
        await world.until_said(CALL, "call.ended")
        events = await world.events(CALL)
        assert [type(event) for event in events if isinstance(event, CallTransferred | CallEnded)] == [
            CallTransferred,
            CallEnded,
        ]
        await world.close()

    on_virtual_time(story())


def test_who_takes_an_ended_call_over_asks_before_it_seals() -> None:
    async def story() -> None:
        world, board = World(), Switchboard()
        call = await greeted(world, board)
        board.open.clear()
        await wish(world, kind="hang_up")
        await world.until_said(CALL, "call.ended")
        await call.hang_up("stop")
        await world.fire("a")
        world.hire("b")
        await asyncio.sleep(5)
        assert fields(await world.events(CALL), "call.sealed", "complete") == []
        assert len(board.asked) == 2
        board.open.set()
        await world.until_said(CALL, "call.sealed")
        await world.close()

    on_virtual_time(story())


def test_a_call_that_ended_meanwhile_is_not_transferred_again() -> None:
    async def story() -> None:
        world, board = World(), Switchboard(away())
        await greeted(world, board)
        await wish(world)
        await asyncio.sleep(0.2)
        assert board.asked == [NUMBERS[0]]
        await wish(world, kind="hang_up")
        await world.until_said(CALL, "call.sealed")
        assert board.asked == [NUMBERS[0], ""]
        await world.close()

    on_virtual_time(story())


def test_a_transfer_that_the_carrier_took_is_said_though_the_call_ended_meanwhile() -> None:
    async def story() -> None:
        world, board = World(), Switchboard()
        await greeted(world, board)
        board.open.clear()
        await wish(world)
        await asyncio.sleep(0.2)
        await wish(world, kind="hang_up")
        await world.until_said(CALL, "call.ended")
        board.open.set()
        await world.until_said(CALL, "call.sealed")
        events = await world.events(CALL)
        assert fields(events, "call.transferred", "to") == [NUMBERS[0]]
        assert fields(events, "call.ended", "reason") == ["request"]
        await world.close()

    on_virtual_time(story())


def test_a_hang_up_on_a_call_that_is_over_is_done() -> None:
    async def story() -> None:
        world, board = World(), Switchboard(CarrierError("call_over", "not in progress", retryable=True))
        await greeted(world, board)
        await wish(world, kind="hang_up")
        await world.until_said(CALL, "call.sealed")
        assert board.asked == [""]
        assert fields(await world.events(CALL), "work.failed", "stage") == []
        await world.close()

    on_virtual_time(story())
