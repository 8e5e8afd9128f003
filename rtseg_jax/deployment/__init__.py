"""From a finished run to a file that can be trusted: conversion, and the proof that it is the same network."""
