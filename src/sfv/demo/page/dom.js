// Short ways to find and make elements.

export const $ = (id) => document.getElementById(id);

/** A new element with some of its properties set. */
export const element = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);
