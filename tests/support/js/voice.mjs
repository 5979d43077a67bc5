// JavaScript's Socket.IO client, told what to do by the lines it reads; each event it gets is a line it writes.
//
//   node voice.mjs URL TOKEN TRANSPORTS
//   {"emit": name, "value": …, "binary": base64?, "ack": true?}   {"disconnect": true}
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const { io } = createRequire(process.env.NODE_MODULES_OF)("socket.io-client");
const [url, token, transports] = process.argv.slice(2);
const tell = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const socket = io(`${url}/voice`, {
  auth: { token },
  transports: transports.split(","),
  reconnection: false,
  forceNew: true,
});
socket.on("connect", () => tell({ connect: socket.io.engine.transport.name }));
socket.io.engine.on("upgrade", (transport) => tell({ upgrade: transport.name }));
socket.on("connect_error", (error) => tell({ connect_error: error.message, data: error.data ?? null }));
socket.on("disconnect", (reason) => tell({ disconnect: reason }));
socket.onAny((name, value) =>
  tell(Buffer.isBuffer(value) ? { event: name, binary: value.toString("base64") } : { event: name, value })
);

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const asked = JSON.parse(line);
    if (asked.disconnect) return socket.disconnect();
    const values = "binary" in asked ? [Buffer.from(asked.binary, "base64")] : "value" in asked ? [asked.value] : [];
    if (asked.ack) return socket.emit(asked.emit, ...values, (answer) => tell({ ack: answer ?? null }));
    socket.emit(asked.emit, ...values);
  })
  .on("close", () => {
    socket.disconnect();
    process.exit(0);
  });
