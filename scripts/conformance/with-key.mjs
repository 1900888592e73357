// The conformance suite sends no credential, and the gateway serves nobody without one: this adds the key to every
// request and changes nothing else, the Host header included. Bytes are passed on as they come, both ways.
//
//   node with-key.mjs LISTEN_PORT GATEWAY_PORT KEY
import http from "node:http";

const [listen, gateway, key] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true });
const server = http.createServer((request, response) => {
  // Repeated headers stay repeated: what is done about them is part of what is tested.
  const raw = [];
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    raw.push(request.rawHeaders[i], request.rawHeaders[i + 1]);
  }
  raw.push("x-litellm-api-key", key);
  const upstream = http.request(
    { host: "127.0.0.1", port: Number(gateway), method: request.method, path: request.url, headers: raw, agent, setHost: false },
    (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders);
      response.flushHeaders();
      answer.pipe(response);
    },
  );
  upstream.on("error", () => response.destroy());
  response.on("close", () => upstream.destroy());
  request.pipe(upstream);
});
server.listen(Number(listen), "127.0.0.1", () => console.log("ready"));
