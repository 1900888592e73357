// Preload for server-everything: its resources have the time of day in them, and two answers must be equal.
'use strict';
Date.prototype.toLocaleTimeString = () => '12:00:00 PM';
