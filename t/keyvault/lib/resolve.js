/*
 * Makes dns.lookup of this process know *.localhost, for programs whose HTTP
 * client cannot be told how to resolve a name.  Loaded for its effect.
 */
'use strict';

const dns = require('dns');

const systems = dns.lookup;

dns.lookup = (name, ...rest) => {
	if (!/(^|\.)localhost\.?$/i.test(name))
		return systems(name, ...rest);
	const callback = rest.pop();

	return rest[0] && rest[0].all
		? process.nextTick(callback, null, [{ address: '127.0.0.1', family: 4 }])
		: process.nextTick(callback, null, '127.0.0.1', 4);
};
