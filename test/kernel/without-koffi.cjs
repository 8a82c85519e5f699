/** Loaded into a Node.js that is to find no koffi. */
'use strict';
const Module = require('node:module');

const load = Module._load;
Module._load = function (request, ...rest) {
  if (request === 'koffi') throw new Error('koffi was not installed');
  return load.call(this, request, ...rest);
};
