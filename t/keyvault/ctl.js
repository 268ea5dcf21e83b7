#!/usr/bin/env node
/*
 * The control API of the test vault from the shell.
 *
 *	node ctl.js DIR start [--port N] …   starts a server in the background and
 *	                                     waits until it is ready
 *	node ctl.js DIR stop                 ends it
 *	node ctl.js DIR get FIELD            one field of ready.json: port, ca_file,
 *	                                     app_service.endpoint …
 *	node ctl.js DIR METHOD [NAME=VALUE …] [-o FIELD]
 *
 * METHOD is one of lib/control.js.  A VALUE that is JSON is taken as JSON, any
 * other as text.  Prints the result as JSON, or with -o one field of it as it is.
 *
 *	node ctl.js d vault.create name=demo -o url
 *	node ctl.js d key.create vault=demo key=kek size=3072 -o url
 *	node ctl.js d key.set vault=demo key=kek enabled=false
 *	node ctl.js d fault.add match='{"op":"unwrap"}' status=429 count=2
 */
'use strict';

const fs = require('fs');
const path = require('path');
const { spawn } = require('child_process');
const { connect } = require('./lib/client');

const fail = (message) => {
	process.stderr.write(`ctl: ${message}\n`);
	process.exit(1);
};

const field = (object, name) => name.split('.').reduce((o, n) => (o === undefined || o === null ? o : o[n]), object);

function show(result, wanted) {
	const value = wanted === undefined ? result : field(result, wanted);

	if (value === undefined)
		fail(`the answer has no ${wanted}`);
	process.stdout.write((typeof value === 'string' ? value : JSON.stringify(value, null, '\t')) + '\n');
}

function parameters(args) {
	const params = {};
	let wanted;

	for (let i = 0; i < args.length; i++) {
		const [, name, text] = /^([a-z_]+)=([^]*)$/.exec(args[i]) || [];

		if (args[i] === '-o')
			wanted = args[++i];
		else if (name === undefined)
			fail(`not NAME=VALUE: ${args[i]}`);
		else {
			try {
				params[name] = JSON.parse(text);
			} catch (e) {
				params[name] = text;
			}
		}
	}
	return { params, wanted };
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function start(dir, args) {
	fs.mkdirSync(dir, { recursive: true });
	const ready = path.join(dir, 'ready.json');

	fs.rmSync(ready, { force: true });
	const log = fs.openSync(path.join(dir, 'server.log'), 'a');
	const child = spawn(process.execPath, [path.join(__dirname, 'server.js'), '--dir', dir, ...args],
		{ detached: true, stdio: ['ignore', log, log] });

	child.unref();
	child.on('exit', () => fail(`the server did not start, see ${dir}/server.log`));
	while (!fs.existsSync(ready))
		await sleep(20);
	child.removeAllListeners('exit');
}

/* The server takes ready.json away when it ends. */
async function stop(dir) {
	const ready = path.join(dir, 'ready.json');

	process.kill(JSON.parse(fs.readFileSync(ready)).pid, 'SIGTERM');
	while (fs.existsSync(ready))
		await sleep(20);
}

async function main() {
	const [dir, command, ...args] = process.argv.slice(2);

	if (command === undefined)
		fail('usage: ctl.js DIR start | stop | get FIELD | METHOD [NAME=VALUE …] [-o FIELD]');
	if (command === 'start')
		await start(dir, args);
	else if (command === 'stop')
		await stop(dir);
	else if (command === 'get')
		show(JSON.parse(fs.readFileSync(path.join(dir, 'ready.json'))), args[0]);
	else {
		const { params, wanted } = parameters(args);

		show(await connect(dir).call(command, params), wanted);
	}
}

main().catch((e) => fail(e.message));
