// Preload for Node servers that listen on all interfaces and have no option for it: every TCP listen() binds
// loopback only.   NODE_OPTIONS="--require ./loopback.cjs" mcp-server-everything streamableHttp
'use strict';
const { Server } = require('node:net');

const listen = Server.prototype.listen;
const host = '127.0.0.1';

Server.prototype.listen = function (...args) {
  const [first] = args;
  if (first !== null && typeof first === 'object' && 'port' in first) {
    // listen({ port, host }, …)
    args[0] = { ...first, host };
  } else if (typeof first === 'number' || /^\d+$/.test(first)) {
    // listen(port, [host], …): the host is a string, a backlog or a callback is not.
    args.splice(1, typeof args[1] === 'string' ? 1 : 0, host);
  }
  return listen.apply(this, args);
};
