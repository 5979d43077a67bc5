// How long an answer let the user wait, and how far the server's sound was played.

const PLAYED_MS = 250; // how often the server is told what was played

export class AnswerTiming {
  #isAwaited = false; // an answer's first sound
  #askedAt = 0; // when the user's turn ended without a voice: typed, or the key let go
  #heardThrough = 0; // sequence of the chunk that was last told to be played
  #toldPlayedAt = 0;

  // Each socket's audio is numbered from 1.
  socketOpened() {
    this.#heardThrough = 0;
  }

  // The user's turn ended now.
  asked() {
    this.#askedAt = performance.now();
    this.#isAwaited = true;
  }

  // The user's voice ended: when, the microphone knows.
  spoke() {
    this.#askedAt = 0;
    this.#isAwaited = true;
  }

  // The first sound of a reply: milliseconds that it was waited for; null if nobody waited.
  answered(lastLoudAt) {
    if (!this.#isAwaited) {
      return null;
    }
    this.#isAwaited = false;
    return performance.now() - (this.#askedAt || lastLoudAt);
  }

  // Of the loudspeaker's figures: the sequence the server should now be told was played; null if that can wait.
  playedThrough({ what, sequence }) {
    const now = performance.now();
    const isNews = what !== "flushed" && sequence > this.#heardThrough;
    if (!isNews || (what !== "drained" && now - this.#toldPlayedAt <= PLAYED_MS)) {
      return null;
    }
    this.#toldPlayedAt = now;
    this.#heardThrough = sequence;
    return sequence;
  }
}
