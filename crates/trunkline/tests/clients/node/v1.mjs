// The TypeScript SDK, 1.x. `mode` has no meaning here.

import { load, main, performer } from './plan.mjs';

const { Client } = await load('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = await load('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { LoggingMessageNotificationSchema } = await load('@modelcontextprotocol/sdk/types.js');

await main(async (target, log) => {
  const client = new Client({ name: 'test', version: '1' });
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => {
    log.push(params.data);
  });
  const { headers } = target;
  const transport = new StreamableHTTPClientTransport(new URL(target.url), { requestInit: { headers } });
  await client.connect(transport);
  return {
    protocol: transport.protocolVersion,
    perform: performer(client, (params, options) => client.callTool(params, undefined, options)),
    close: () => client.close(),
  };
});
