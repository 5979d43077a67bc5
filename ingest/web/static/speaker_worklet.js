// Plays samples as they come: waits for a little before it begins, and lets go of everything when it is told to.

const START_S = 0.06; // held before sound begins, so that a late piece does not tear it
const AGAIN_S = 0.12; // the same after sound was torn once
const LONGEST_WAIT_S = 0.15; // a short last piece is not held back for ever
const TELL_S = 0.05;

class SpeakerProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.queue = []; // {samples, sequence}
    this.at = 0; // within the first of them
    this.held = 0; // samples in the queue
    this.waitingSince = -1;
    this.isPlaying = false;
    this.told = 0;
    this.figures = { played: 0, energy: 0, sequence: 0, torn: 0, thrownAway: 0 };
    this.port.onmessage = ({ data }) => (data.flush ? this.flush() : this.take(data));
  }

  take({ samples, sequence }) {
    this.queue.push({ samples, sequence });
    this.held += samples.length;
    if (!this.isPlaying && this.waitingSince < 0) {
      this.waitingSince = currentTime;
    }
  }

  flush() {
    this.figures.thrownAway += this.held;
    this.queue = [];
    this.at = this.held = 0;
    this.isPlaying = false;
    this.waitingSince = -1;
    this.tell("flushed");
  }

  process(_inputs, [[out]]) {
    if (!this.isPlaying && this.held && this.mayBegin()) {
      this.isPlaying = true;
      this.waitingSince = -1;
      this.tell("began");
    }
    if (this.isPlaying) {
      this.fill(out);
      if (!this.held) {
        this.isPlaying = false;
        this.figures.torn += 1; // also at a reply's end, where nothing is torn: the page knows which
        this.tell("drained");
      } else if (currentTime - this.told > TELL_S) {
        this.tell("playing");
      }
    }
    return true;
  }

  mayBegin() {
    const enough = (this.figures.torn ? AGAIN_S : START_S) * sampleRate;
    return this.held >= enough || currentTime - this.waitingSince > LONGEST_WAIT_S;
  }

  fill(out) {
    let filled = 0;
    while (filled < out.length && this.queue.length) {
      const { samples, sequence } = this.queue[0];
      const count = Math.min(out.length - filled, samples.length - this.at);
      for (let index = 0; index < count; index += 1) {
        const sample = samples[this.at + index];
        out[filled + index] = sample;
        this.figures.energy += sample * sample;
      }
      filled += count;
      this.at += count;
      if (this.at === samples.length) {
        this.queue.shift();
        this.at = 0;
        this.figures.sequence = sequence;
      }
    }
    this.held -= filled;
    this.figures.played += filled;
  }

  tell(what) {
    this.told = currentTime;
    this.port.postMessage({ what, ...this.figures, held: this.held });
  }
}

registerProcessor("speaker", SpeakerProcessor);
