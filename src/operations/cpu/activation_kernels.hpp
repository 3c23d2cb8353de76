// Vectorised loops of learnt and gated activations on the CPU. Raw pointers, one thread, no allocation.
#pragma once

#include <cstdint>

namespace kangpt::operations::cpu {

// Versions, dtypes and layout as in kernels.hpp. Groups are equal ranges of channels; formulas: Activations.

inline constexpr std::int64_t kMostFunctionTerms = 17;  // degree 16 and the constant
inline constexpr std::int64_t kNumeratorTerms = 6;
inline constexpr std::int64_t kDenominatorTerms = 4;

template <class T>
struct FunctionShape {
  const T* u;  // [rows, channels]
  std::int64_t rows;
  std::int64_t channels;
  std::int64_t groups;
};

template <class T>
struct ChebyshevFunction {
  FunctionShape<T> at;
  const T* coefficients;  // [groups, terms]
  T* y;                   // [rows, channels]
  std::int64_t terms;     // at most kMostFunctionTerms
};
void chebyshev_function(const ChebyshevFunction<float>& a);
void chebyshev_function(const ChebyshevFunction<double>& a);

template <class T>
struct ChebyshevFunctionBackward {
  FunctionShape<T> at;
  const T* coefficients;
  const T* dy;       // [rows, channels]
  T* du;             // [rows, channels], written; may be dy
  T* dcoefficients;  // [groups, terms], written: of these rows
  std::int64_t terms;
};
void chebyshev_function_backward(const ChebyshevFunctionBackward<float>& a);
void chebyshev_function_backward(const ChebyshevFunctionBackward<double>& a);

template <class T>
struct RationalFunction {
  FunctionShape<T> at;
  const T* numerator;    // [groups, kNumeratorTerms]
  const T* denominator;  // [groups, kDenominatorTerms]
  T* y;                  // [rows, channels]
};
void rational_function(const RationalFunction<float>& a);
void rational_function(const RationalFunction<double>& a);

template <class T>
struct RationalFunctionBackward {
  FunctionShape<T> at;
  const T* numerator;
  const T* denominator;
  const T* dy;      // [rows, channels]
  T* du;            // [rows, channels], written; may be dy
  T* dnumerator;    // written: of these rows
  T* ddenominator;  // written: of these rows
};
void rational_function_backward(const RationalFunctionBackward<float>& a);
void rational_function_backward(const RationalFunctionBackward<double>& a);

template <class T>
struct Swiglu {  // activation = silu(gate) * up
  const T* gate;
  const T* up;
  T* activation;
  std::int64_t count;
};
void swiglu(const Swiglu<float>& a);
void swiglu(const Swiglu<double>& a);

template <class T>
struct SwigluBackward {
  const T* gate;
  const T* up;
  T* dgate;
  T* dup;  // on entry the gradient with respect to the activation
  std::int64_t count;
};
void swiglu_backward(const SwigluBackward<float>& a);
void swiglu_backward(const SwigluBackward<double>& a);

}  // namespace kangpt::operations::cpu
