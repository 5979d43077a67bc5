// The page /screen/{call}: one call as it happens, each of CallScreen's messages given to whom it concerns.

import { find, write } from "/static/dom.js";
import { Feed } from "/static/feed.js";
import { CallCard, RepliesCard, StreamsCard, SummaryCard, ToolsCard } from "/static/screen_cards.js";
import { Conversation } from "/static/screen_conversation.js";

class ScreenView {
  #feed = null;
  #call = new CallCard();
  #conversation = new Conversation();
  #replies = new RepliesCard();
  #tools = new ToolsCard();
  #streams = new StreamsCard();
  #summary = new SummaryCard();
  #isCatchingUp = false;
  #heeds = {
    snapshot: (message) => this.#snapshot(message),
    "call.started": (message) => this.#call.show({ ...message, started_at: message.timestamp, ended_at: null }),
    "call.ended": (message) => this.#ended(message),
    "agent.changed": (message) => this.#agentChanged(message),
    "transcript.revised": (message) => this.#conversation.guess(message),
    "transcript.settled": (message) => this.#conversation.settled(message),
    "text.typed": (message) => this.#conversation.line(message, "typed"),
    "speech.started": () => write(find("now"), "The caller is speaking."),
    "speech.stopped": () => write(find("now"), ""),
    "reply.started": (message) => this.#replyStarted(message),
    "reply.sentence": (message) => this.#sentence(message),
    "reply.interrupted": (message) => this.#interrupted(message),
    "reply.finished": (message) => this.#finished(message),
    "tool.called": (message) => this.#tools.called(message),
    "tool.returned": (message) => this.#tools.returned(message),
    "stream.opened": (message) => this.#streams.news(message),
    "stream.closed": (message) => this.#streamOver(message),
    "stream.lost": (message) => this.#streamOver(message),
    "stream.superseded": (message) => this.#streams.news(message),
    "stream.degraded": (message) => this.#streams.news(message),
    "stream.reported": (message) => this.#streams.news(message),
    "stream.measured": (message) => this.#streams.measured(message),
    "call.summarised": (message) => this.#summary.summarised(message),
    "action.found": (message) => this.#summary.action(message),
  };

  follow(feed) {
    this.#feed = feed;
  }

  begin() {
    for (const part of [this.#conversation, this.#replies, this.#tools, this.#streams, this.#summary]) {
      part.begin();
    }
    this.#isCatchingUp = true;
  }

  async caughtUp() {
    this.#isCatchingUp = false;
    await this.#askWhatWasHeard();
  }

  take(message) {
    if (Object.hasOwn(this.#heeds, message.type)) {
      this.#heeds[message.type](message);
    }
  }

  #snapshot({ call, transcript, earlier_lines: earlier, revised, summary, actions }) {
    this.#isCatchingUp = false;
    this.#call.show({ ...call, agent: call.agent_name || call.agent });
    find("earlier").hidden = !earlier;
    write(find("earlier"), earlier ? `${earlier} earlier lines are not shown.` : "");
    for (const line of transcript) {
      this.#conversation.line(line);
      this.#conversation.heard(line);
    }
    revised.forEach((guess) => this.#conversation.guess(guess));
    if (summary) {
      this.#summary.summarised(summary);
    }
    actions.forEach((action) => this.#summary.action(action));
  }

  #ended({ reason, duration_ms: duration, timestamp }) {
    this.#call.change({ ended_at: timestamp, reason, duration_ms: duration });
    this.#conversation.forgetGuesses();
    write(find("now"), "");
  }

  #agentChanged({ agent }) {
    this.#call.change({ agent });
    this.#conversation.note(`${agent} takes over`);
  }

  #replyStarted(message) {
    this.#replies.started(message);
    write(find("now"), "The agent is answering.");
  }

  #sentence(message) {
    this.#conversation.line(message);
    this.#replies.sentence(message);
  }

  #interrupted({ reply }) {
    this.#replies.linesOf(reply).forEach((id) => this.#conversation.tag(id, "interrupted"));
  }

  #finished(message) {
    write(find("now"), "");
    this.#replies.finished(message);
    if (message.interrupted && message.heard) {
      message.heard.forEach((line) => this.#conversation.heard(line));
    } else if (message.interrupted) {
      this.#askWhatWasHeard();
    }
  }

  #streamOver(message) {
    this.#streams.news(message);
    this.#askWhatWasHeard(); // what a stream's end cut short is known now
  }

  // Facts say that a reply was cut, a snapshot says where.
  async #askWhatWasHeard() {
    if (this.#isCatchingUp || !this.#conversation.hasTags) {
      return;
    }
    const snapshot = await this.#feed.glance();
    for (const line of snapshot?.transcript ?? []) {
      this.#conversation.heard(line);
    }
  }
}

const callId = decodeURIComponent(location.pathname.split("/").at(-1));
write(find("call-id"), callId);
const view = new ScreenView();
const path = encodeURIComponent(callId);
const feed = new Feed(`/ws/callscreen/${path}`, view, { past: `/api/calls/${path}/events` });
view.follow(feed);
feed.open();
