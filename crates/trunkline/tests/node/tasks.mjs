// The TypeScript SDK, 1.x, with the tasks of 2025-11-25: runs a tool that is a task, answers its question, gives another
// up, and prints what it saw as one line of JSON.
//
//     node tasks.mjs URL TOOL    MCP_BEARER; MCP_NODE_MODULES: the packages

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

// The packages are not beside this file, and ES modules know no NODE_PATH.
const require = createRequire(join(process.env.MCP_NODE_MODULES, 'here.js'));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { Client } = await load('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = await load('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { ElicitRequestSchema } = await load('@modelcontextprotocol/sdk/types.js');

const [url, name] = process.argv.slice(2);
const RELATED = 'io.modelcontextprotocol/related-task';
const client = new Client({ name: 'test', version: '1' }, { capabilities: { elicitation: { form: {} } } });
let about;
client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
  about = params._meta?.[RELATED]?.taskId;
  return { action: 'accept', content: { interpretation: 'snake' } };
});
const headers = { Authorization: `Bearer ${process.env.MCP_BEARER}` };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
const { tools } = await client.listTools();
const tool = tools.find((tool) => tool.name === name);
const { tasks } = client.experimental;

let id;
let result;
const statuses = [];
for await (const message of tasks.callToolStream({ name, arguments: { topic: 'python', ambiguous: true } })) {
  if (message.type === 'taskCreated') id = message.task.taskId;
  if (message.type === 'taskStatus' && statuses.at(-1) !== message.task.status) {
    if (message.task.taskId !== id) throw new Error('the task has another id when it is polled');
    statuses.push(message.task.status);
  }
  if (message.type === 'result') result = message.result;
  if (message.type === 'error') throw message.error;
}
const listed = (await tasks.listTasks()).tasks.map((task) => task.taskId);
let given;
for await (const message of tasks.callToolStream({ name, arguments: { topic: 'x' } })) {
  given = message.task.taskId;
  break;
}
const cancelled = await tasks.cancelTask(given);
const unknown = await tasks.getTask('nothing').catch((error) => error.code);

console.log(
  JSON.stringify({
    support: tool.execution?.taskSupport,
    capabilities: client.getServerCapabilities().tasks,
    statuses,
    text: result.content[0].text,
    about_it: about === id,
    result_about_it: result._meta?.[RELATED]?.taskId === id,
    listed: listed.includes(id),
    cancelled: cancelled.status,
    same_id: cancelled.taskId === given,
    unknown,
  }),
);
await client.close();
