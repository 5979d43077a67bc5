"""Asks the agent for a reply and turns what it says into drafts, sentence by sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from schema.envelope import Event
from schema.failure import WorkFailed
from schema.turn import AgentChanged, ReplyComposed, ReplySentence, ToolCalled
from workers.agents import Agent, CallTool, Conversation, HandOver, HangUp, Say
from workers.engines.port import EngineError
from workers.talk import Reply

logger = structlog.get_logger()

AGENT_TIMEOUT_S = 20


class Composer:
    """One generation of one reply. Everything it emits names the reply and the generation."""

    def __init__(
        self,
        agent: Agent,
        conversation: Conversation,
        reply: Reply,
        *,
        call_id: str,
        hands_over_to: Callable[[str], bool],
        fallback: str,
        new_id: Callable[[], str],
        emit: Callable[[Event], None],
        last_word: str = "",
    ) -> None:
        """`last_word` is why the call ends after this reply even if the agent does not hang up."""
        self.reply = reply.id
        self.generation = reply.generation
        self._reply_agent = reply.agent
        self._agent = agent
        self._conversation = conversation
        # What is on the log already is not said again: only what follows it is.
        self._sentences = len(reply.sentences)
        self._tools = reply.tools
        self._call_id = call_id
        self._hands_over_to = hands_over_to
        self._fallback = fallback
        self._new_id = new_id
        self._emit = emit
        self._last_word = last_word
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(AGENT_TIMEOUT_S):
                await self._compose()
        except TimeoutError:
            self._fail(EngineError("agent_timeout", f"no answer within {AGENT_TIMEOUT_S} s", retryable=True))
        except EngineError as error:
            self._fail(error)
        except Exception as error:
            logger.error("agent broke", call_id=self._call_id, exc_info=error)
            self._fail(EngineError("agent_broke", type(error).__name__, retryable=False))

    async def _compose(self) -> None:
        sentences, tools, hang_up = 0, 0, self._last_word
        async for said in self._agent.reply(self._conversation):
            match said:
                case Say(text):
                    if sentences >= self._sentences and text.strip():
                        self._say(sentences, text)
                    sentences += bool(text.strip())
                case CallTool(name, arguments, repeatable):
                    if tools >= self._tools:
                        self._emit(
                            ToolCalled(
                                id=self._new_id(),
                                call_id=self._call_id,
                                reply=self.reply,
                                name=name,
                                arguments=dict(arguments),
                                repeatable=repeatable,
                            )
                        )
                    tools += 1
                case HandOver(agent):
                    self._hand_over(agent)
                case HangUp(reason):
                    hang_up = reason
        self._composed(max(sentences, self._sentences), hang_up)

    def _hand_over(self, agent: str) -> None:
        if not self._hands_over_to(agent):
            message = f"{self._reply_agent} may not hand the call to {agent!r}: name a known agent in its hand_over"
            self._say_failed(EngineError("unknown_agent", message, retryable=False))
            return
        self._emit(
            AgentChanged(
                id=self._new_id(), call_id=self._call_id, agent=agent, previous=self._reply_agent, cause=self.reply
            )
        )

    def _say(self, index: int, text: str) -> None:
        self._sentences = index + 1
        self._emit(
            ReplySentence(
                id=self._new_id(),
                call_id=self._call_id,
                reply=self.reply,
                index=index,
                text=text,
                generation=self.generation,
            )
        )

    def _composed(self, sentences: int, hang_up: str) -> None:
        self._emit(
            ReplyComposed(
                id=self._new_id(), call_id=self._call_id, reply=self.reply, sentences=sentences, hang_up=hang_up
            )
        )

    def _fail(self, error: EngineError) -> None:
        """The caller is told something, always."""
        self._say_failed(error)
        if not self._sentences:
            self._say(0, self._fallback)
        self._composed(max(1, self._sentences), self._last_word)

    def _say_failed(self, error: EngineError) -> None:
        self._emit(
            WorkFailed(
                id=self._new_id(),
                call_id=self._call_id,
                stage="agent",
                code=error.code,
                message=str(error),
                retryable=error.retryable,
            )
        )
