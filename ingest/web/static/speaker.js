// The agent's voice: PCM of 24 kHz, mono s16le in base64, played by a worklet.

const RATE = 24_000;

// Calls of `handlers`: began(), figures(object) while it plays.
export class Speaker {
  received = 0; // samples
  #context;
  #node;

  // Only after a click: browsers keep a page silent before. Null where there is no sound: on a page that is not https.
  static async open(handlers) {
    if (!globalThis.isSecureContext || !globalThis.AudioWorkletNode) {
      return null;
    }
    const context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
    await context.audioWorklet.addModule("/static/speaker_worklet.js");
    await context.resume();
    return new Speaker(context, handlers);
  }

  constructor(context, handlers) {
    this.#context = context;
    this.#node = new AudioWorkletNode(context, "speaker", { numberOfInputs: 0, outputChannelCount: [1] });
    this.#node.connect(context.destination);
    this.#node.port.onmessage = ({ data }) => {
      if (data.what === "began") {
        handlers.began();
      }
      handlers.figures(data);
    };
  }

  play(text, sequence) {
    const samples = decoded(text);
    this.received += samples.length;
    this.#node.port.postMessage({ samples, sequence }, [samples.buffer]);
  }

  // What was sent and not yet heard is not to be heard.
  flush() {
    this.#node.port.postMessage({ flush: true });
  }

  async close() {
    this.#node.disconnect();
    await this.#context.close();
  }
}

function decoded(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const samples = new Float32Array(bytes.length >> 1);
  for (let index = 0; index < samples.length; index += 1) {
    samples[index] = view.getInt16(index * 2, true) / 32_768;
  }
  return samples;
}
